import Foundation

/// SentencePiece's table of characters to replace.
///
/// The trie's size in bytes, its units (32 bits), and the replacements, each ended by a zero byte. A unit is a
/// double-array trie's (Yata's darts-clone): a label in the low 8 bits, bit 8 for a leaf below it, an offset above, which
/// is 8 bits larger where bit 9 is set; with bit 31 it is a value, the place of a replacement. A place outside the table
/// holds nothing.
struct Charsmap: Sendable {
    private let units: [UInt32]
    private let texts: [UInt8]

    /// Throws TokenizerError for what is no table.
    init(base64: String?) throws {
        guard let bytes = base64.flatMap({ Data(base64Encoded: $0) }).map({ [UInt8]($0) }), bytes.count > 4 else {
            throw TokenizerError.damaged("the table of characters to replace cannot be read")
        }
        let size = Self.number(bytes, 0)
        guard size % 4 == 0, size > 0, size <= bytes.count - 4 else {
            throw TokenizerError.damaged("the table of characters to replace does not have the size it says")
        }
        units = stride(from: 4, to: 4 + size, by: 4).map { UInt32(Self.number(bytes, $0)) }
        texts = Array(bytes[(4 + size)...])
    }

    private static func number(_ bytes: [UInt8], _ at: Int) -> Int {
        (0..<4).reduce(0) { $0 | Int(bytes[at + $1]) << (8 * $1) }
    }

    func normalize(_ text: ArraySlice<Unicode.Scalar>) -> [Unicode.Scalar] {
        var result: [Unicode.Scalar] = []
        result.reserveCapacity(text.count)
        for character in String(String.UnicodeScalarView(text)) {
            // As the library does: longer characters are only looked up scalar by scalar.
            if character.utf8.count < 6, let whole = replacement(character.utf8) {
                result += whole
                continue
            }
            for scalar in character.unicodeScalars {
                if let other = replacement(UTF8.encode(scalar)!) { result += other } else { result.append(scalar) }
            }
        }
        return result
    }

    /// What stands for the first bytes that have a replacement, the shortest that do: the library takes these for all.
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
