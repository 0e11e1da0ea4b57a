/// Recursive descent over bytes that are known to be UTF-8.
struct JSONParser {
    // Deeper than any tokenizer is; what walks a value must not run out of stack.
    private static let deepest = 100

    let bytes: UnsafeBufferPointer<UInt8>
    let file: String
    private var at = 0

    init(bytes: UnsafeBufferPointer<UInt8>, file: String) { (self.bytes, self.file) = (bytes, file) }

    mutating func document() throws -> JSONValue {
        let value = try value(depth: 0)
        skipSpace()
        guard at == bytes.count else { throw fault("more than one value") }
        return value
    }

    private func fault(_ reason: String) -> TokenizerError {
        .damaged(file: file, reason: "\(reason) at byte \(at)")
    }

    private mutating func skipSpace() {
        while at < bytes.count, bytes[at] == 0x20 || 0x09...0x0A ~= bytes[at] || bytes[at] == 0x0D { at += 1 }
    }

    /// Whether `byte` comes next, which then is behind us.
    private mutating func take(_ byte: UInt8) -> Bool {
        guard at < bytes.count, bytes[at] == byte else { return false }
        at += 1
        return true
    }

    private mutating func value(depth: Int) throws -> JSONValue {
        guard depth <= Self.deepest else { throw fault("nested too deep") }
        skipSpace()
        guard at < bytes.count else { throw fault("it ends too early") }
        switch bytes[at] {
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
        guard bytes[at...].starts(with: text.utf8) else { throw fault("no JSON") }
        at += text.utf8.count
        return value
    }

    private mutating func object(_ depth: Int) throws -> JSONValue {
        at += 1
        var entries: [(key: String, value: JSONValue)] = []
        skipSpace()
        if take(UInt8(ascii: "}")) { return .object(entries) }
        repeat {
            skipSpace()
            guard at < bytes.count, bytes[at] == UInt8(ascii: "\"") else { throw fault("a key is missing") }
            let key = try string()
            skipSpace()
            guard take(UInt8(ascii: ":")) else { throw fault("no colon after a key") }
            entries.append((key, try value(depth: depth + 1)))
            skipSpace()
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "}")) else { throw fault("an object does not end") }
        return .object(entries)
    }

    private mutating func array(_ depth: Int) throws -> JSONValue {
        at += 1
        var values: [JSONValue] = []
        skipSpace()
        if take(UInt8(ascii: "]")) { return .array(values) }
        repeat {
            values.append(try value(depth: depth + 1))
            skipSpace()
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "]")) else { throw fault("an array does not end") }
        return .array(values)
    }

    private mutating func number() throws -> JSONValue {
        let start = at
        while at < bytes.count, "+-.eE0123456789".utf8.contains(bytes[at]) { at += 1 }
        let text = String(decoding: bytes[start..<at], as: UTF8.self)
        guard let first = text.utf8.first, first != UInt8(ascii: "+"), first != UInt8(ascii: "."),
            let value = Double(text), value.isFinite
        else { throw fault("no JSON") }
        if let integer = Int(text) { return .integer(integer) }
        return .number(Self.asRead(text) ?? value)
    }

    /// The number as the library's JSON reader (serde_json) takes it: digits first, then the power of ten, which rounds
    /// twice. Scores of tokens tell by the last bit which of two equally likely cuts is taken. nil: more than that.
    private static func asRead(_ text: String) -> Double? {
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
        at += 1
        let start = at
        while at < bytes.count, bytes[at] != UInt8(ascii: "\""), bytes[at] != UInt8(ascii: "\\"), bytes[at] >= 0x20 {
            at += 1
        }
        let plain = bytes[start..<at]
        if take(UInt8(ascii: "\"")) { return String(decoding: plain, as: UTF8.self) }
        var text = [UInt8](plain)
        while at < bytes.count, bytes[at] >= 0x20 {
            let byte = bytes[at]
            at += 1
            if byte == UInt8(ascii: "\"") { return String(decoding: text, as: UTF8.self) }
            if byte == UInt8(ascii: "\\") { text += try escape() } else { text.append(byte) }
        }
        throw fault("a text does not end")
    }

    /// The UTF-8 of what stands after a backslash.
    private mutating func escape() throws -> [UInt8] {
        guard at < bytes.count else { throw fault("a text does not end") }
        let byte = bytes[at]
        at += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0C]
        case UInt8(ascii: "n"): return [0x0A]
        case UInt8(ascii: "r"): return [0x0D]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "u"): return Array(String(try escapedScalar()).utf8)
        default: throw fault("no such escape")
        }
    }

    private mutating func escapedScalar() throws -> Character {
        var code = try hexadecimal()
        if 0xD800..<0xDC00 ~= code, take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) {
            let low = try hexadecimal()
            guard 0xDC00..<0xE000 ~= low else { throw fault("half a character") }
            code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
        }
        guard let scalar = Unicode.Scalar(code) else { throw fault("half a character") }
        return Character(scalar)
    }

    private mutating func hexadecimal() throws -> UInt32 {
        guard at + 4 <= bytes.count else { throw fault("a text does not end") }
        var code: UInt32 = 0
        for byte in bytes[at..<at + 4] {
            guard byte < 0x80, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw fault("no such escape")
            }
            code = code << 4 | UInt32(digit)
        }
        at += 4
        return code
    }
}
