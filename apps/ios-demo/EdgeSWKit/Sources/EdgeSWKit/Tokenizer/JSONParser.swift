/// A recursive-descent parser over bytes that are known to be UTF-8.
struct JSONParser {
    // Deeper than any tokenizer file; code that walks a value recursively must not run out of stack.
    private static let deepest = 100

    let bytes: UnsafeBufferPointer<UInt8>
    let file: String
    private var index = 0

    init(bytes: UnsafeBufferPointer<UInt8>, file: String) { (self.bytes, self.file) = (bytes, file) }

    mutating func document() throws -> JSONValue {
        let value = try value(depth: 0)
        skipSpace()
        guard index == bytes.count else { throw error("more than one value") }
        return value
    }

    private func error(_ reason: String) -> TokenizerError {
        .damaged(file: file, reason: "\(reason) at byte \(index)")
    }

    private mutating func skipSpace() {
        while index < bytes.count, bytes[index] == 0x20 || 0x09...0x0A ~= bytes[index] || bytes[index] == 0x0D { index += 1 }
    }

    /// Consumes `byte` if it comes next, and returns whether it did.
    private mutating func take(_ byte: UInt8) -> Bool {
        guard index < bytes.count, bytes[index] == byte else { return false }
        index += 1
        return true
    }

    private mutating func value(depth: Int) throws -> JSONValue {
        guard depth <= Self.deepest else { throw error("nested too deeply") }
        skipSpace()
        guard index < bytes.count else { throw error("it ends too early") }
        switch bytes[index] {
        case UInt8(ascii: "{"): return try object(depth)
        case UInt8(ascii: "["): return try array(depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: return try number()
        }
    }

    private mutating func word(_ text: String, _ value: JSONValue) throws -> JSONValue {
        guard bytes[index...].starts(with: text.utf8) else { throw error("not JSON") }
        index += text.utf8.count
        return value
    }

    private mutating func object(_ depth: Int) throws -> JSONValue {
        index += 1
        var entries: [(key: String, value: JSONValue)] = []
        skipSpace()
        if take(UInt8(ascii: "}")) { return .object(entries) }
        repeat {
            skipSpace()
            guard index < bytes.count, bytes[index] == UInt8(ascii: "\"") else { throw error("missing key") }
            let key = try string()
            skipSpace()
            guard take(UInt8(ascii: ":")) else { throw error("missing colon after a key") }
            entries.append((key, try value(depth: depth + 1)))
            skipSpace()
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "}")) else { throw error("unterminated object") }
        return .object(entries)
    }

    private mutating func array(_ depth: Int) throws -> JSONValue {
        index += 1
        var values: [JSONValue] = []
        skipSpace()
        if take(UInt8(ascii: "]")) { return .array(values) }
        repeat {
            values.append(try value(depth: depth + 1))
            skipSpace()
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "]")) else { throw error("unterminated array") }
        return .array(values)
    }

    private mutating func number() throws -> JSONValue {
        let start = index
        while index < bytes.count, "+-.eE0123456789".utf8.contains(bytes[index]) { index += 1 }
        let text = String(decoding: bytes[start..<index], as: UTF8.self)
        guard let first = text.utf8.first, first != UInt8(ascii: "+"), first != UInt8(ascii: "."),
            let value = Double(text), value.isFinite
        else { throw error("not JSON") }
        if let integer = Int(text) { return .integer(integer) }
        return .number(Self.serdeValue(text) ?? value)
    }

    /// The number as the library's JSON reader (serde_json) reads it: the digits first, then the power of ten, which rounds
    /// twice. The last bit of the tokens' scores decides between equally likely segmentations. nil for digits or exponents
    /// beyond that method.
    private static func serdeValue(_ text: String) -> Double? {
        let parts = text.lowercased().split(separator: "e", omittingEmptySubsequences: false)
        let digits = parts[0].split(separator: ".", omittingEmptySubsequences: false)
        let decimals = digits.count > 1 ? digits[1].utf8.count : 0
        guard let exponent = parts.count > 1 ? Int(parts[1]) : 0, let number = UInt64(digits.joined().drop { $0 == "-" }),
            -999...999 ~= exponent, abs(exponent - decimals) <= 308, let power = Double("1e\(abs(exponent - decimals))")
        else { return nil }
        let value = exponent < decimals ? Double(number) / power : Double(number) * power
        return text.hasPrefix("-") ? -value : value
    }

    private mutating func string() throws -> String {
        index += 1
        let start = index
        while index < bytes.count, bytes[index] >= 0x20, !"\"\\".utf8.contains(bytes[index]) { index += 1 }
        let plain = bytes[start..<index]
        if take(UInt8(ascii: "\"")) { return String(decoding: plain, as: UTF8.self) }
        var text = [UInt8](plain)
        while index < bytes.count, bytes[index] >= 0x20 {
            let byte = bytes[index]
            index += 1
            if byte == UInt8(ascii: "\"") { return String(decoding: text, as: UTF8.self) }
            if byte == UInt8(ascii: "\\") { text += try escape() } else { text.append(byte) }
        }
        throw error("unterminated string")
    }

    /// The UTF-8 of the escape sequence whose backslash was just read.
    private mutating func escape() throws -> [UInt8] {
        guard index < bytes.count else { throw error("unterminated string") }
        let byte = bytes[index]
        index += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0C]
        case UInt8(ascii: "n"): return [0x0A]
        case UInt8(ascii: "r"): return [0x0D]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "u"): return Array(String(try escapedScalar()).utf8)
        default: throw error("invalid escape")
        }
    }

    private mutating func escapedScalar() throws -> Character {
        var code = try hexadecimal()
        if 0xD800..<0xDC00 ~= code, take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) {
            let low = try hexadecimal()
            guard 0xDC00..<0xE000 ~= low else { throw error("unpaired surrogate") }
            code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
        }
        guard let scalar = Unicode.Scalar(code) else { throw error("unpaired surrogate") }
        return Character(scalar)
    }

    private mutating func hexadecimal() throws -> UInt32 {
        guard index + 4 <= bytes.count else { throw error("unterminated string") }
        var code: UInt32 = 0
        for byte in bytes[index..<index + 4] {
            guard byte < 0x80, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw error("invalid escape")
            }
            code = code << 4 | UInt32(digit)
        }
        index += 4
        return code
    }
}
