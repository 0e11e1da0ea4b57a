/// Finds the tokens of a word.
enum Model: Sendable {
    case bpe(BytePairs)
    case unigram(Unigram)

    /// Throws TokenizerError for one that is not known or damaged.
    init(_ json: JSONValue) throws {
        switch json["type"]?.string {
        case "BPE": self = .bpe(try BytePairs(json))
        case "Unigram": self = .unigram(try Unigram(json))
        case nil where json["merges"] != nil: self = .bpe(try BytePairs(json))  // older files
        case let name: throw TokenizerError.unsupported(part: "model", name: name ?? "without a type")
        }
    }

    var vocabulary: TokenTable {
        switch self {
        case .bpe(let model): model.vocabulary
        case .unigram(let model): model.vocabulary
        }
    }

    /// How many tokens it has.
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

/// The tokens <0x00> to <0xFF>, which stand for what no other token does. nil for each that is not in the vocabulary.
func byteTokens(_ vocabulary: TokenTable) -> [Int?] {
    (0...255).map { byte in
        let digits = String(byte, radix: 16, uppercase: true)
        return vocabulary.id(of: "<0x\(byte < 16 ? "0" : "")\(digits)>")
    }
}
