import Foundation

/// Stand-in until the merge: byte-level BPE with GPT-2's pre-tokenizer and nothing else.
public final class Tokenizer: Sendable {
    public let bosID: Int?
    public let eosIDs: [Int]
    public let vocabularySize: Int
    public let specialIDs: Set<Int>

    private let ids: [String: Int]
    private let bytes: [Int: [UInt8]]
    private let ranks: [String: Int]
    private let special: [String: Int]

    private struct File: Decodable {
        struct Added: Decodable {
            let id: Int
            let content: String
        }
        struct Model: Decodable {
            let vocab: [String: Int]
            let merges: [[String]]
        }
        let addedTokens: [Added]
        let model: Model
    }
    private struct Settings: Decodable { let bosToken, eosToken: String? }
    private struct Generation: Decodable { let eosTokenId: Int? }

    public init(json: Data, config: Data? = nil, specialTokensMap: Data? = nil, generationConfig: Data? = nil) throws {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let file = try decoder.decode(File.self, from: json)
        let settings = try config.map { try decoder.decode(Settings.self, from: $0) }
        let generation = try generationConfig.map { try decoder.decode(Generation.self, from: $0) }
        ids = file.model.vocab
        special = Dictionary(uniqueKeysWithValues: file.addedTokens.map { ($0.content, $0.id) })
        specialIDs = Set(special.values)
        ranks = Dictionary(uniqueKeysWithValues: file.model.merges.enumerated().map { ($1.joined(separator: " "), $0) })
        bytes = Dictionary(uniqueKeysWithValues: ids.map { token, id in (id, token.unicodeScalars.map(Self.byte)) })
        vocabularySize = ids.count
        bosID = settings?.bosToken.flatMap { [special] in special[$0] }
        let eos = [settings?.eosToken.flatMap { [special] in special[$0] }, generation?.eosTokenId]
        eosIDs = eos.compactMap { $0 }
    }

    public func encode(_ text: String, bos: Bool) -> [Int] {
        let pattern = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
        let expression = try! NSRegularExpression(pattern: pattern)
        let whole = NSRange(text.startIndex..., in: text)
        let words = expression.matches(in: text, range: whole).map { String(text[Range($0.range, in: text)!]) }
        return (bos ? [bosID].compactMap { $0 } : []) + words.flatMap(word)
    }

    public func decode(_ ids: [Int], special: Bool = false) -> String {
        String(decoding: content(ids, special: special), as: UTF8.self)
    }

    public func stream() -> TextStream { TextStream(self) }

    func content(_ ids: [Int], special: Bool) -> [UInt8] {
        ids.filter { special || !specialIDs.contains($0) }.flatMap { bytes[$0] ?? [] }
    }

    private func word(_ text: String) -> [Int] {
        var pieces = text.utf8.map { String(Self.scalar($0)) }
        while let best = zip(pieces, pieces.dropFirst()).compactMap({ ranks["\($0) \($1)"] }).min() {
            let at = zip(pieces, pieces.dropFirst()).enumerated().first { ranks["\($1.0) \($1.1)"] == best }!.offset
            pieces[at...at + 1] = [pieces[at] + pieces[at + 1]]
        }
        return pieces.map { ids[$0]! }
    }

    private static let printable = Array(33...126) + Array(161...172) + Array(174...255)
    private static let others = (0...255).filter { !printable.contains($0) }

    private static func scalar(_ byte: UInt8) -> Unicode.Scalar {
        others.firstIndex(of: Int(byte)).map { Unicode.Scalar(256 + UInt32($0))! } ?? Unicode.Scalar(byte)
    }

    private static func byte(_ scalar: Unicode.Scalar) -> UInt8 {
        scalar.value < 256 ? UInt8(scalar.value) : UInt8(others[min(Int(scalar.value) - 256, others.count - 1)])
    }
}
