import Foundation

/// Turns text into token ids and back, by the files of a package, exactly as Hugging Face's `tokenizers` does.
public final class Tokenizer: Sendable {
    /// The tokens before a text.
    public let prefixIDs: [Int]
    /// The tokens after a text.
    public let suffixIDs: [Int]
    /// The tokens that end a text or a turn.
    public let stopIDs: [Int]
    /// The number of tokens, added ones included. The model's embedding may be padded beyond it.
    public let vocabularySize: Int
    /// Tokens that are never text.
    public let specialIDs: Set<Int>

    private let normalizer: Normalizer?
    private let preTokenizer: PreTokenizer?
    private let model: Model
    private let added: AddedTokens
    private let decoder: TokenDecoder?

    /// Reads the content of tokenizer.json. The manifest names the tokens around a text and those that end one. Throws
    /// TokenizerError for a damaged file and for parts that are not supported.
    public init(json: Data, prefixIDs: [Int] = [], suffixIDs: [Int] = [], stopIDs: [Int] = []) throws {
        (self.prefixIDs, self.suffixIDs, self.stopIDs) = (prefixIDs, suffixIDs, stopIDs)
        let file = try JSONValue(json, file: "tokenizer.json")
        guard let modelJSON = file["model"] else { throw TokenizerError.damaged("there is no model") }
        normalizer = try file["normalizer"].map(Normalizer.init)
        preTokenizer = try file["pre_tokenizer"].map(PreTokenizer.init)
        decoder = try file["decoder"].map(TokenDecoder.init)
        model = try Model(modelJSON)
        let added = try AddedTokens(file["added_tokens"], model: model, normalizer: normalizer)
        let model = model
        let additional = added.byID.values.filter { model.vocabulary.id(of: $0.content) == nil }
        vocabularySize = model.count + additional.count
        specialIDs = Set(added.byID.filter(\.value.isSpecial).keys)
        self.added = added
    }

    /// Returns the token ids of a text. Special tokens spelled out in it are recognized.
    ///
    /// `addSpecialTokens` puts `prefixIDs` and `suffixIDs` around it. A rendered chat contains its own.
    public func encode(_ text: String, addSpecialTokens: Bool = true) -> [Int] {
        var pieces = added.split(Array(text.unicodeScalars), normalizer: normalizer).filter {
            $0.token != nil || !$0.text.isEmpty
        }
        if let preTokenizer { pieces = preTokenizer.apply(pieces) }
        var ids: [Int] = []
        for piece in pieces {
            if let token = piece.token { ids.append(token) } else { model.encode(piece.text, into: &ids) }
        }
        return addSpecialTokens ? prefixIDs + ids + suffixIDs : ids
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
}
