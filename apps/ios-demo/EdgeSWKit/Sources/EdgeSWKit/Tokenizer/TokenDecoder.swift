/// The decoder of a tokenizer, which turns tokens into text.
indirect enum TokenDecoder: Sendable {
    case sequence([TokenDecoder])
    case byteLevel
    case byteFallback
    case fuse
    case replace(Pattern, [Unicode.Scalar])
    case strip(Unicode.Scalar, start: Int, stop: Int)
    case metaspace(Metaspace)

    /// Throws TokenizerError for an unsupported or damaged decoder.
    init(_ json: JSONValue) throws {
        switch json["type"]?.string {
        case "Sequence":
            guard let parts = json["decoders"]?.array else { throw TokenizerError.damaged("a decoder has no parts") }
            self = .sequence(try parts.map(TokenDecoder.init))
        case "ByteLevel": self = .byteLevel
        case "ByteFallback": self = .byteFallback
        case "Fuse": self = .fuse
        case "Replace":
            let (pattern, content) = try replacement(json)
            self = .replace(pattern, content)
        case "Strip":
            guard let text = json["content"]?.string, let scalar = text.unicodeScalars.first, text.unicodeScalars.count == 1,
                let start = json["start"]?.integer, let stop = json["stop"]?.integer, start >= 0, stop >= 0
            else { throw TokenizerError.damaged("the Strip decoder has no character or lengths") }
            self = .strip(scalar, start: start, stop: stop)
        case "Metaspace": self = .metaspace(try Metaspace(json))
        case let name: throw TokenizerError.unsupported(part: "decoder", name: name ?? "without a type")
        }
    }

    func apply(_ tokens: [String]) -> [String] {
        switch self {
        case .sequence(let parts): return parts.reduce(tokens) { $1.apply($0) }
        case .byteLevel:
            var bytes: [UInt8] = []
            for token in tokens { bytes += ByteLevel.bytes(of: token) }
            return [String(decoding: bytes, as: UTF8.self)]
        case .byteFallback: return Self.fromBytes(tokens)
        case .fuse: return [tokens.joined()]
        case .replace(let pattern, let content):
            return tokens.map { token in
                let text = Array(token.unicodeScalars)[...]
                let matches = pattern.matches(text)
                return matches.isEmpty ? token : Self.text(replaced(text, matches, content))
            }
        case .strip(let scalar, let start, let stop): return tokens.map { Self.stripped($0, scalar, start, stop) }
        case .metaspace(let metaspace):
            return tokens.enumerated().map { metaspace.decoded($0.element, isFirst: $0.offset == 0) }
        }
    }

    private static func text(_ scalars: some Sequence<Unicode.Scalar>) -> String {
        var text = String.UnicodeScalarView()
        text.append(contentsOf: scalars)
        return String(text)
    }

    private static func stripped(_ token: String, _ scalar: Unicode.Scalar, _ start: Int, _ stop: Int) -> String {
        var scalars = Array(token.unicodeScalars)[...]
        for _ in 0..<min(start, scalars.count) where scalars.first == scalar { scalars.removeFirst() }
        for _ in 0..<min(stop, scalars.count) where scalars.last == scalar { scalars.removeLast() }
        return text(scalars)
    }

    /// Replaces each run of tokens like <0xE2> by the characters that it spells, or by one replacement character per token.
    private static func fromBytes(_ tokens: [String]) -> [String] {
        var result: [String] = []
        var bytes: [UInt8] = []
        func flush() {
            if let text = String(validating: bytes, as: UTF8.self) {
                if !bytes.isEmpty { result.append(text) }
            } else {
                result += Array(repeating: "\u{FFFD}", count: bytes.count)
            }
            bytes = []
        }
        for token in tokens {
            if let byte = byte(token) {
                bytes.append(byte)
            } else {
                flush()
                result.append(token)
            }
        }
        flush()
        return result
    }

    private static func byte(_ token: String) -> UInt8? {
        let text = Array(token.utf8)
        guard text.count == 6, text.starts(with: "<0x".utf8), text[5] == UInt8(ascii: ">") else { return nil }
        return UInt8(String(decoding: text[3..<5], as: UTF8.self), radix: 16)
    }
}
