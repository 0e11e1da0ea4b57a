/// A set of Unicode's general categories.
struct Categories: OptionSet, Sendable {
    let rawValue: UInt32

    init(rawValue: UInt32) { self.rawValue = rawValue }

    init(_ category: Unicode.GeneralCategory) { rawValue = 1 << UInt32(Self.bit(category)) }

    /// The categories that \p{name} matches: one, or all that begin with the letter. nil for another name.
    init?(name: String) {
        let bits = Self.names.indices.filter { Self.names[$0].hasPrefix(name) }
        guard !bits.isEmpty, 1...2 ~= name.utf8.count else { return nil }
        rawValue = bits.reduce(0) { $0 | 1 << UInt32($1) }
    }

    var complement: Categories { Categories(rawValue: ~rawValue) }

    static let decimalNumber = Categories(.decimalNumber)
    static let numbers = Categories(name: "N")!
    static let marks = Categories(name: "M")!
    static let words: Categories = [Categories(name: "L")!, Categories(name: "M")!, .decimalNumber, Categories(name: "Pc")!]

    /// The short name of the category of each bit.
    static let names = [
        "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm",
        "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn",
    ]

    private static func bit(_ category: Unicode.GeneralCategory) -> Int {
        switch category {
        case .uppercaseLetter: 0
        case .lowercaseLetter: 1
        case .titlecaseLetter: 2
        case .modifierLetter: 3
        case .otherLetter: 4
        case .nonspacingMark: 5
        case .spacingMark: 6
        case .enclosingMark: 7
        case .decimalNumber: 8
        case .letterNumber: 9
        case .otherNumber: 10
        case .connectorPunctuation: 11
        case .dashPunctuation: 12
        case .openPunctuation: 13
        case .closePunctuation: 14
        case .initialPunctuation: 15
        case .finalPunctuation: 16
        case .otherPunctuation: 17
        case .mathSymbol: 18
        case .currencySymbol: 19
        case .modifierSymbol: 20
        case .otherSymbol: 21
        case .spaceSeparator: 22
        case .lineSeparator: 23
        case .paragraphSeparator: 24
        case .control: 25
        case .format: 26
        case .surrogate: 27
        case .privateUse: 28
        case .unassigned: 29
        @unknown default: 29
        }
    }
}

extension Unicode.Scalar {
    var isSpace: Bool { properties.isWhitespace }

    /// Whether \w matches: letters, marks, decimal digits, connecting punctuation, and what Unicode counts as alphabetic.
    var isWord: Bool {
        Categories.words.contains(Categories(category)) || properties.isAlphabetic
    }

    /// The general category in the Unicode version of Hugging Face's tokenizers, whatever the system's version is.
    var category: Unicode.GeneralCategory {
        let known = properties.generalCategory
        if value == 0x1171E { return .spacingMark }  // since Unicode 16
        return known == .unassigned ? newerCategory(self) : known
    }

    /// The lowercase mapping, independent of the context.
    var lowercased: [Unicode.Scalar] {
        if properties.generalCategory == .unassigned { return [newerLowercase(self)] }
        return Array(properties.lowercaseMapping.unicodeScalars)
    }
}
