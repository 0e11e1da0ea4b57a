import Foundation

/// SentencePiece's precompiled table of character replacements.
///
/// The file holds the trie's size in bytes, the trie's units (32 bits each) and the replacements, each ended by a zero byte.
/// Units are those of a double-array trie (Yata's darts-clone): the label is in the low 8 bits, bit 8 says that there is a
/// leaf below, and the offset is above, shifted by 8 more bits if bit 9 is set. With bit 31 a unit is a value, the position
/// of a replacement. A position outside the table holds nothing.
struct Charsmap: Sendable {
    private let units: [UInt32]
    private let texts: [UInt8]

    /// Throws TokenizerError for an invalid table.
    init(base64: String?) throws {
        guard let bytes = base64.flatMap({ Data(base64Encoded: $0) }).map({ [UInt8]($0) }), bytes.count > 4 else {
            throw TokenizerError.damaged("the table of character replacements cannot be read")
        }
        let size = Self.number(bytes, 0)
        guard size % 4 == 0, size > 0, size <= bytes.count - 4 else {
            throw TokenizerError.damaged("the table of character replacements does not have the size it states")
        }
        units = stride(from: 4, to: 4 + size, by: 4).map { UInt32(Self.number(bytes, $0)) }
        texts = Array(bytes[(4 + size)...])
    }

    private static func number(_ bytes: [UInt8], _ start: Int) -> Int {
        (0..<4).reduce(0) { $0 | Int(bytes[start + $1]) << (8 * $1) }
    }

    func normalize(_ text: ArraySlice<Unicode.Scalar>) -> [Unicode.Scalar] {
        var result: [Unicode.Scalar] = []
        result.reserveCapacity(text.count)
        for character in String(String.UnicodeScalarView(text)) {
            // Like the library: longer characters are only looked up scalar by scalar.
            if character.utf8.count < 6, let whole = replacement(character.utf8) {
                result += whole
                continue
            }
            for scalar in character.unicodeScalars {
                if let replaced = replacement(UTF8.encode(scalar)!) { result += replaced } else { result.append(scalar) }
            }
        }
        return result
    }

    /// The replacement of the shortest prefix that has one. The library replaces all the bytes with it.
    private func replacement(_ bytes: some Sequence<UInt8>) -> [Unicode.Scalar]? {
        var node = Int(offset(0))
        for byte in bytes {
            guard byte != 0 else { return nil }
            node ^= Int(byte)
            guard units.indices.contains(node), units[node] & 0x8000_00FF == UInt32(byte) else { return nil }
            let unit = node
            node ^= Int(offset(unit))
            guard units[unit] >> 8 & 1 == 1, units.indices.contains(node) else { continue }
            let start = Int(units[node] & 0x7FFF_FFFF)
            guard start <= texts.count else { return nil }
            let end = texts[start...].firstIndex(of: 0) ?? texts.count
            return Array(String(decoding: texts[start..<end], as: UTF8.self).unicodeScalars)
        }
        return nil
    }

    private func offset(_ unit: Int) -> UInt32 {
        (units[unit] >> 10) << ((units[unit] & 1 << 9) >> 6)
    }
}
