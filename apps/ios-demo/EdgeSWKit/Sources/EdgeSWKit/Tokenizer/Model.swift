/// The model of a tokenizer, which finds the tokens of a word.
enum Model: Sendable {
    case bpe(BytePairEncoding)
    case unigram(Unigram)

    /// Throws TokenizerError for an unsupported or damaged model.
    init(_ json: JSONValue) throws {
        switch json["type"]?.string {
        case "BPE": self = .bpe(try BytePairEncoding(json))
        case "Unigram": self = .unigram(try Unigram(json))
        case nil where json["merges"] != nil: self = .bpe(try BytePairEncoding(json))  // older files
        case let name: throw TokenizerError.unsupported(part: "model", name: name ?? "without a type")
        }
    }

    var vocabulary: TokenTable {
        switch self {
        case .bpe(let model): model.vocabulary
        case .unigram(let model): model.vocabulary
        }
    }

    /// The number of tokens.
    var count: Int {
        switch self {
        case .bpe(let model): model.vocabulary.count
        case .unigram(let model): model.count
        }
    }

    func encode(_ word: ArraySlice<Unicode.Scalar>, into ids: inout [Int]) {
        switch self {
        case .bpe(let model): model.encode(word, into: &ids)
        case .unigram(let model): model.encode(word, into: &ids)
        }
    }
}

/// The tokens <0x00> to <0xFF>, which spell what no other token contains. nil for those that the vocabulary lacks.
func byteTokens(_ vocabulary: TokenTable) -> [Int?] {
    (0...255).map { byte in
        let digits = String(byte, radix: 16, uppercase: true)
        return vocabulary.id(of: "<0x\(byte < 16 ? "0" : "")\(digits)>")
    }
}
