/// GPT-2's byte-level alphabet, in which each of the 256 bytes is a printable character.
enum ByteLevel {
    /// The character of each byte. Printable Latin-1 characters represent themselves; the other bytes are numbered in order
    /// from U+0100.
    private static let alphabet: [Unicode.Scalar] = {
        var next: UInt32 = 256
        return (0...255).map { (byte: UInt32) in
            if 0x21...0x7E ~= byte || 0xA1...0xAC ~= byte || 0xAE...0xFF ~= byte { return Unicode.Scalar(byte)! }
            next += 1
            return Unicode.Scalar(next - 1)!
        }
    }()

    private static let bytes: [UInt8?] = {
        var bytes: [UInt8?] = Array(repeating: nil, count: 512)
        for (byte, scalar) in alphabet.enumerated() { bytes[Int(scalar.value)] = UInt8(byte) }
        return bytes
    }()

    static func scalars(of text: ArraySlice<Unicode.Scalar>) -> [Unicode.Scalar] {
        var result: [Unicode.Scalar] = []
        result.reserveCapacity(text.count + text.count / 4)
        let alphabet = alphabet
        for scalar in text {
            if scalar.isASCII {
                result.append(alphabet[Int(scalar.value)])
            } else {
                for byte in UTF8.encode(scalar)! { result.append(alphabet[Int(byte)]) }
            }
        }
        return result
    }

    /// The bytes that a token represents. A token with characters outside the alphabet (an added one) is its own text.
    static func bytes(of token: String) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(token.utf8.count)
        for scalar in token.unicodeScalars {
            guard scalar.value < 512, let byte = bytes[Int(scalar.value)] else { return Array(token.utf8) }
            result.append(byte)
        }
        return result
    }
}
