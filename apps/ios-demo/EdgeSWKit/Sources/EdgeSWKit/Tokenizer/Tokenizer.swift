import Foundation

/// Turns text into token ids and back, by the files of a package, exactly as Hugging Face's `tokenizers` does.
public final class Tokenizer: Sendable {
    /// The token that begins a text; nil for a model without one.
    public let bosID: Int?
    /// The tokens that end a text or a turn.
    public let eosIDs: [Int]
    /// The number of tokens, added ones included. The model's embedding may be padded beyond it.
    public let vocabularySize: Int
    /// Tokens that are never text.
    public let specialIDs: Set<Int>

    private let normalizer: Normalizer?
    private let preTokenizer: PreTokenizer?
    private let model: Model
    private let added: AddedTokens
    private let decoder: TokenDecoder?

    /// Reads the contents of tokenizer.json and, where they exist, of tokenizer_config.json, special_tokens_map.json and
    /// generation_config.json. Throws TokenizerError for damaged files and for parts that are not supported.
    public init(
        json: Data, config: Data? = nil, specialTokensMap: Data? = nil, generationConfig: Data? = nil
    ) throws {
        let file = try JSONValue(json, file: "tokenizer.json")
        guard let modelJSON = file["model"] else { throw TokenizerError.damaged("there is no model") }
        normalizer = try file["normalizer"].map(Normalizer.init)
        preTokenizer = try file["pre_tokenizer"].map(PreTokenizer.init)
        decoder = try file["decoder"].map(TokenDecoder.init)
        model = try Model(modelJSON)
        var added = try AddedTokens(file["added_tokens"], model: model, normalizer: normalizer)

        let settings = [
            try Self.table(config, "tokenizer_config.json"), try Self.table(specialTokensMap, "special_tokens_map.json"),
        ]
        let (bos, eos) = (Self.token(settings, "bos_token"), Self.token(settings, "eos_token"))
        let model = model
        func id(_ token: String?) -> Int? {
            token.flatMap { added.id(of: $0) ?? model.vocabulary.id(of: $0) }
        }
        // A tokenizer.json may not mark these as special; they are never text.
        let ends = [bos, eos].compactMap { $0 }.filter { id($0) != nil }
        added.add(ends.map { .init(content: $0, isSpecial: true) }, model: model, normalizer: normalizer)
        bosID = id(bos)

        let generation = try Self.table(generationConfig, "generation_config.json")["eos_token_id"]
        let listed = (generation?.array ?? generation.map { [$0] } ?? []).compactMap(\.integer)
        eosIDs = ([id(eos)].compactMap { $0 } + listed).reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
        let additional = added.byID.values.filter { model.vocabulary.id(of: $0.content) == nil }
        vocabularySize = model.count + additional.count
        specialIDs = Set(added.byID.filter(\.value.isSpecial).keys)
        self.added = added
    }

    /// Returns the token ids of a text. Special tokens spelled out in it are recognized.
    ///
    /// `bos` adds the BOS token in front if the model has one and the text (a rendered chat) does not begin with it.
    public func encode(_ text: String, bos: Bool) -> [Int] {
        var pieces = added.split(Array(text.unicodeScalars), normalizer: normalizer).filter {
            $0.token != nil || !$0.text.isEmpty
        }
        if let preTokenizer { pieces = preTokenizer.apply(pieces) }
        var ids: [Int] = []
        for piece in pieces {
            if let token = piece.token { ids.append(token) } else { model.encode(piece.text, into: &ids) }
        }
        if bos, let bosID, ids.first != bosID { ids.insert(bosID, at: 0) }
        return ids
    }

    /// Returns the text of token ids. Special tokens are left out unless `special`; ids without a token are skipped.
    public func decode(_ ids: [Int], special: Bool = false) -> String {
        let tokens = ids.compactMap { id -> String? in
            if !special, added.skippedIDs.contains(id) { return nil }
            return added.texts[id] ?? model.vocabulary.text(of: id)
        }
        return decoder.map { $0.apply(tokens).joined() } ?? tokens.joined(separator: " ")
    }

    /// Returns a decoder for tokens that arrive one at a time. It leaves special tokens out.
    public func stream() -> TextStream { TextStream(self) }

    private static func table(_ data: Data?, _ file: String) throws -> JSONValue {
        let value = try data.map { try JSONValue($0, file: file) } ?? .object([])
        guard case .object = value else { throw TokenizerError.damaged(file: file, reason: "not an object") }
        return value
    }

    /// A special token's text in the first table that has it; some versions write {"content": text, ...}.
    private static func token(_ tables: [JSONValue], _ key: String) -> String? {
        let value = tables.lazy.compactMap { $0[key] }.first
        let text = value?.string ?? value?["content"]?.string
        return text.flatMap { $0.isEmpty ? nil : $0 }
    }
}
