import EdgeSWKit
import Foundation
import Testing

/// Compares with Hugging Face's `tokenizers` line by line, over more than 10,000 mixed texts. Where one of these tests
/// fails, the model receives other tokens than it was trained on, or the app shows other text than the model wrote.
@Suite(.enabled(if: Goldens.areGenerated, Goldens.hint), .serialized)
struct TokenizerGoldenTests {
    static let kinds = [
        "smollm2", "llama3", "qwen2", "o200k", "mistral", "llama2", "gemma", "unigram", "charsmap",
        "llama-rebuilt", "gemma-rebuilt", "qwen2-rebuilt",
    ]

    static let texts = Result { try Goldens.lines("tokenizers/lines.jsonl", as: String.self) }

    struct Facts: Decodable {
        let prefix, suffix, stop: [Int]
        let size: Int
    }

    struct Streamed: Decodable {
        let ids: [Int]
        let texts: [String]
        let text: String
    }

    static func tokenizer(_ kind: String) throws -> Tokenizer {
        let facts: Facts = try Goldens.json("tokenizers/\(kind)/facts.json")
        return try Tokenizer(
            json: Goldens.data("tokenizers/\(kind)/tokenizer.json"), prefixIDs: facts.prefix, suffixIDs: facts.suffix,
            stopIDs: facts.stop)
    }

    @Test("The same tokens for every text, and the same text for every list of tokens", arguments: kinds)
    func everyLine(_ kind: String) throws {
        let loading = ContinuousClock.now
        let tokenizer = try Self.tokenizer(kind)
        let loaded = ContinuousClock.now - loading
        let texts = try Self.texts.get()
        let ids = try Goldens.numbers("tokenizers/\(kind)/ids.txt")
        let decoded: [[String]] = try Goldens.lines("tokenizers/\(kind)/texts.jsonl")
        #expect(texts.count >= 10_000)
        try #require(ids.count == texts.count && decoded.count == texts.count)

        let begin = ContinuousClock.now
        let found = texts.map { tokenizer.encode($0, addSpecialTokens: false) }
        let took = ContinuousClock.now - begin
        let tokens = found.reduce(0) { $0 + $1.count }
        print("\(kind): loaded in \(loaded); \(tokens) tokens of \(texts.count) lines in \(took)")

        if let line = ids.indices.first(where: { found[$0] != ids[$0] }) {
            let at = zip(found[line], ids[line]).prefix { $0 == $1 }.count
            let wrong = ids.indices.count { found[$0] != ids[$0] }
            Issue.record(
                """
                \(wrong) lines differ, the first is \(line + 1), '\(shown(texts[line]))', at token \(at): \
                \(found[line].dropFirst(at).prefix(8)), expected \(ids[line].dropFirst(at).prefix(8))
                """)
        }
        for line in ids.indices {
            let plain = tokenizer.decode(ids[line]), special = tokenizer.decode(ids[line], special: true)
            guard isSame(plain, decoded[line][0]), isSame(special, decoded[line][1]) else {
                Issue.record("line \(line + 1) decodes to '\(shown(special))', expected '\(shown(decoded[line][1]))'")
                break
            }
        }
    }

    @Test("Streamed text consists of whole characters and adds up, token by token", arguments: kinds)
    func streams(_ kind: String) throws {
        let tokenizer = try Self.tokenizer(kind)
        let cases: [Streamed] = try Goldens.lines("tokenizers/\(kind)/streams.jsonl")
        #expect(cases.count > 2_000)
        for (number, each) in cases.enumerated() {
            var stream = tokenizer.stream()
            let texts = each.ids.map { stream.push($0) } + [stream.end()]
            let decoded = tokenizer.decode(each.ids)
            guard zip(texts, each.texts).allSatisfy(isSame), isSame(decoded, each.text) else {
                let at = zip(texts, each.texts).prefix(while: isSame).count
                Issue.record(
                    """
                    stream \(number + 1), token \(at) of \(each.ids.prefix(50)): \
                    \(texts.dropFirst(at).prefix(3).map(shown)), \
                    expected \(each.texts.dropFirst(at).prefix(3).map(shown)); \
                    text '\(shown(decoded))', expected '\(shown(each.text))'
                    """)
                break
            }
        }
    }

    @Test("A whole text has the tokens around it, and the vocabulary's size is the model's", arguments: kinds)
    func facts(_ kind: String) throws {
        let tokenizer = try Self.tokenizer(kind)
        let facts: Facts = try Goldens.json("tokenizers/\(kind)/facts.json")
        #expect(tokenizer.vocabularySize == facts.size)
        #expect(tokenizer.specialIDs.isSuperset(of: facts.prefix + facts.suffix))
        let whole = try Goldens.numbers("tokenizers/\(kind)/whole.txt")
        for (text, ids) in zip(try Self.texts.get(), whole) { #expect(tokenizer.encode(text) == ids) }
    }
}
