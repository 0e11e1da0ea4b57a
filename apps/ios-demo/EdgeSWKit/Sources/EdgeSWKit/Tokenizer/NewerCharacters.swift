/// The characters of Unicode 15.1 to 17, which Hugging Face's tokenizers know and Swift on iOS 18 does not: first, last and
/// general category of each range. A test compares all characters with the library.
private let newer: [(first: UInt32, last: UInt32, category: Unicode.GeneralCategory)] = [
    (0x00897, 0x00897, .nonspacingMark), (0x01B4E, 0x01B4F, .otherPunctuation), (0x01B7F, 0x01B7F, .otherPunctuation),
    (0x01C89, 0x01C89, .uppercaseLetter), (0x01C8A, 0x01C8A, .lowercaseLetter), (0x02427, 0x02429, .otherSymbol),
    (0x02FFC, 0x02FFF, .otherSymbol), (0x031E4, 0x031E5, .otherSymbol), (0x031EF, 0x031EF, .otherSymbol),
    (0x0A7CB, 0x0A7CC, .uppercaseLetter), (0x0A7CD, 0x0A7CD, .lowercaseLetter), (0x0A7DA, 0x0A7DA, .uppercaseLetter),
    (0x0A7DB, 0x0A7DB, .lowercaseLetter), (0x0A7DC, 0x0A7DC, .uppercaseLetter), (0x105C0, 0x105F3, .otherLetter),
    (0x10D40, 0x10D49, .decimalNumber), (0x10D4A, 0x10D4D, .otherLetter), (0x10D4E, 0x10D4E, .modifierLetter),
    (0x10D4F, 0x10D4F, .otherLetter), (0x10D50, 0x10D65, .uppercaseLetter), (0x10D69, 0x10D6D, .nonspacingMark),
    (0x10D6E, 0x10D6E, .dashPunctuation), (0x10D6F, 0x10D6F, .modifierLetter), (0x10D70, 0x10D85, .lowercaseLetter),
    (0x10D8E, 0x10D8F, .mathSymbol), (0x10EC2, 0x10EC4, .otherLetter), (0x10EFC, 0x10EFC, .nonspacingMark),
    (0x11380, 0x11389, .otherLetter), (0x1138B, 0x1138B, .otherLetter), (0x1138E, 0x1138E, .otherLetter),
    (0x11390, 0x113B5, .otherLetter), (0x113B7, 0x113B7, .otherLetter), (0x113B8, 0x113BA, .spacingMark),
    (0x113BB, 0x113C0, .nonspacingMark), (0x113C2, 0x113C2, .spacingMark), (0x113C5, 0x113C5, .spacingMark),
    (0x113C7, 0x113CA, .spacingMark), (0x113CC, 0x113CD, .spacingMark), (0x113CE, 0x113CE, .nonspacingMark),
    (0x113CF, 0x113CF, .spacingMark), (0x113D0, 0x113D0, .nonspacingMark), (0x113D1, 0x113D1, .otherLetter),
    (0x113D2, 0x113D2, .nonspacingMark), (0x113D3, 0x113D3, .otherLetter), (0x113D4, 0x113D5, .otherPunctuation),
    (0x113D7, 0x113D8, .otherPunctuation), (0x113E1, 0x113E2, .nonspacingMark), (0x116D0, 0x116E3, .decimalNumber),
    (0x11BC0, 0x11BE0, .otherLetter), (0x11BE1, 0x11BE1, .otherPunctuation), (0x11BF0, 0x11BF9, .decimalNumber),
    (0x11F5A, 0x11F5A, .nonspacingMark), (0x13460, 0x143FA, .otherLetter), (0x16100, 0x1611D, .otherLetter),
    (0x1611E, 0x16129, .nonspacingMark), (0x1612A, 0x1612C, .spacingMark), (0x1612D, 0x1612F, .nonspacingMark),
    (0x16130, 0x16139, .decimalNumber), (0x16D40, 0x16D42, .modifierLetter), (0x16D43, 0x16D6A, .otherLetter),
    (0x16D6B, 0x16D6C, .modifierLetter), (0x16D6D, 0x16D6F, .otherPunctuation), (0x16D70, 0x16D79, .decimalNumber),
    (0x18CFF, 0x18CFF, .otherLetter), (0x1CC00, 0x1CCEF, .otherSymbol), (0x1CCF0, 0x1CCF9, .decimalNumber),
    (0x1CD00, 0x1CEB3, .otherSymbol), (0x1E5D0, 0x1E5ED, .otherLetter), (0x1E5EE, 0x1E5EF, .nonspacingMark),
    (0x1E5F0, 0x1E5F0, .otherLetter), (0x1E5F1, 0x1E5FA, .decimalNumber), (0x1E5FF, 0x1E5FF, .otherPunctuation),
    (0x1F8B2, 0x1F8BB, .otherSymbol), (0x1F8C0, 0x1F8C1, .otherSymbol), (0x1FA89, 0x1FA89, .otherSymbol),
    (0x1FA8F, 0x1FA8F, .otherSymbol), (0x1FABE, 0x1FABE, .otherSymbol), (0x1FAC6, 0x1FAC6, .otherSymbol),
    (0x1FADC, 0x1FADC, .otherSymbol), (0x1FADF, 0x1FADF, .otherSymbol), (0x1FAE9, 0x1FAE9, .otherSymbol),
    (0x1FBCB, 0x1FBEF, .otherSymbol), (0x2EBF0, 0x2EE5D, .otherLetter),
]

/// The general category of a character that is unassigned in the system's version of Unicode.
func newerCategory(_ scalar: Unicode.Scalar) -> Unicode.GeneralCategory {
    var (low, high) = (0, newer.count)
    while low < high {
        let middle = (low + high) / 2
        if newer[middle].last < scalar.value { low = middle + 1 } else { high = middle }
    }
    return low < newer.count && newer[low].first <= scalar.value ? newer[low].category : .unassigned
}

/// The lowercase letter of a capital that is unassigned in the system's version of Unicode.
func newerLowercase(_ scalar: Unicode.Scalar) -> Unicode.Scalar {
    let lowercase: UInt32 =
        switch scalar.value {
        case 0x1C89, 0xA7CC, 0xA7CE, 0xA7D2, 0xA7D4, 0xA7DA: scalar.value + 1
        case 0xA7CB: 0x264
        case 0xA7DC: 0x19B
        case 0x10D50...0x10D65: scalar.value + 32
        case 0x16EA0...0x16EB8: scalar.value + 27
        default: scalar.value
        }
    return Unicode.Scalar(lowercase) ?? scalar
}
