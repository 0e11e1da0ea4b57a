/// SentencePiece's unigram model (Kudo, arXiv 1804.10959): the most likely segmentation of a text into tokens.
struct Unigram: Sendable {
    let vocabulary: TokenTable
    /// The number of tokens, duplicates included.
    let count: Int
    private let trie: ScalarTrie
    private let scores: [Double]
    private let unknown: Int
    private let unknownScore: Double
    private let bytes: [Int?]?

    /// Throws TokenizerError for a damaged model, and for one without an unknown token.
    init(_ json: JSONValue) throws {
        guard let entries = json["vocab"]?.array else { throw TokenizerError.damaged("the model has no vocabulary") }
        let pairs = try entries.map { entry in
            guard let parts = entry.array, parts.count == 2, let text = parts[0].string, let score = parts[1].double
            else { throw TokenizerError.damaged("a token has no score") }
            return (text: text, score: score)
        }
        guard let unknown = json["unk_id"]?.integer else {
            throw TokenizerError.unsupported(part: "model", name: "Unigram without an unknown token")
        }
        guard pairs.indices.contains(unknown) else { throw TokenizerError.damaged("the unknown token is out of range") }
        count = pairs.count
        scores = pairs.map(\.score)
        vocabulary = try TokenTable(pairs.enumerated().map { ($0.element.text, $0.offset) })
        var trie = ScalarTrie(capacity: pairs.count * 4)
        for (id, pair) in pairs.enumerated() where !pair.text.isEmpty {
            trie.add(pair.text.unicodeScalars, id, replacing: true)
        }
        self.trie = trie
        self.unknown = unknown
        unknownScore = (scores.min() ?? 0) - 10  // SentencePiece's penalty
        bytes = json["byte_fallback"]?.bool == true ? byteTokens(vocabulary) : nil
    }

    private struct Best {
        var score = 0.0
        var start = -1
        var id = -1
    }

    func encode(_ word: ArraySlice<Unicode.Scalar>, into ids: inout [Int]) {
        let base = word.startIndex
        var best = Array(repeating: Best(), count: word.count + 1)
        for start in 0..<word.count {
            let before = best[start].score
            var hasSingle = false
            trie.matches(word, from: base + start) { end, id in
                let score = scores[id] + before
                let index = end - base
                if best[index].start < 0 || score > best[index].score {
                    best[index] = Best(score: score, start: start, id: id)
                }
                if index == start + 1 { hasSingle = true }
            }
            if !hasSingle, best[start + 1].start < 0 || unknownScore + before > best[start + 1].score {
                best[start + 1] = Best(score: unknownScore + before, start: start, id: unknown)
            }
        }
        var parts: [(range: Range<Int>, id: Int)] = []
        var end = word.count
        while end > 0 {
            let part = best[end]
            if part.id == unknown, let last = parts.last, last.id == unknown {
                parts[parts.count - 1].range = part.start..<last.range.upperBound
            } else {
                parts.append((part.start..<end, part.id))
            }
            end = part.start
        }
        for part in parts.reversed() { add(part, word, &ids) }
    }

    private func add(_ part: (range: Range<Int>, id: Int), _ word: ArraySlice<Unicode.Scalar>, _ ids: inout [Int]) {
        if part.id != unknown {
            ids.append(part.id)
            return
        }
        let text = word[(word.startIndex + part.range.lowerBound)..<(word.startIndex + part.range.upperBound)]
        if let id = vocabulary.id(of: text) {
            ids.append(id)
        } else if let bytes, let known = fallback(text, bytes) {
            ids += known
        } else {
            ids.append(unknown)
        }
    }

    private func fallback(_ text: ArraySlice<Unicode.Scalar>, _ bytes: [Int?]) -> [Int]? {
        var ids: [Int] = []
        for scalar in text {
            for byte in UTF8.encode(scalar)! {
                guard let id = bytes[Int(byte)] else { return nil }
                ids.append(id)
            }
        }
        return ids
    }
}
