/// Byte-pair encoding: neighbours are merged, the pair that was learnt first before all others.
struct BytePairs: Sendable {
    let vocabulary: TokenTable
    private let ranks: NumberTable  // (left, right) -> rank
    private let merged: [Int32]  // rank -> the token it makes
    private let singles: [Int32]  // of characters below 65,536 their tokens, -1 for none
    private let bytes: [Int?]?
    private let unknown: Int?
    private let fusesUnknown: Bool
    private let takesWholeWords: Bool

    /// Throws TokenizerError for what is damaged, and for dropout, prefixes and suffixes.
    init(_ json: JSONValue) throws {
        for key in ["continuing_subword_prefix", "end_of_word_suffix"] where !(json[key]?.string ?? "").isEmpty {
            throw TokenizerError.unsupported(part: "model", name: "BPE with \(key)")
        }
        if let dropout = json["dropout"]?.double, dropout != 0 {
            throw TokenizerError.unsupported(part: "model", name: "BPE with dropout")
        }
        guard let entries = json["vocab"]?.object, let pairs = json["merges"]?.array else {
            throw TokenizerError.damaged("the model has no vocabulary or no merges")
        }
        let vocabulary = try TokenTable(
            entries.map { entry in
                guard let id = entry.value.integer else { throw TokenizerError.damaged("a token has no number") }
                return (entry.key, id)
            })
        self.vocabulary = vocabulary
        (ranks, merged) = try Self.merges(pairs, vocabulary)
        singles = (0...0xFFFF).map { (value: UInt32) in
            Unicode.Scalar(value).flatMap { vocabulary.id(of: [$0]) }.map(Int32.init) ?? -1
        }
        bytes = json["byte_fallback"]?.bool == true ? byteTokens(vocabulary) : nil
        // The library fails at the first character that needs it, if the vocabulary has no such token.
        unknown = json["unk_token"]?.string.flatMap(vocabulary.id)
        fusesUnknown = json["fuse_unk"]?.bool ?? false
        takesWholeWords = json["ignore_merges"]?.bool ?? false
    }

    private static func merges(_ pairs: [JSONValue], _ vocabulary: TokenTable) throws -> (NumberTable, [Int32]) {
        var ranks = NumberTable(capacity: pairs.count)
        var merged: [Int32] = []
        merged.reserveCapacity(pairs.count)
        for pair in pairs {
            guard let (left, right) = halves(pair), let first = vocabulary.id(of: left),
                let second = vocabulary.id(of: right), let whole = vocabulary.id(of: left + right)
            else { throw TokenizerError.damaged("merge \(merged.count) is not of the vocabulary's tokens") }
            ranks.set(NumberTable.key(Int32(first), Int32(second)), Int32(merged.count))
            merged.append(Int32(whole))
        }
        return (ranks, merged)
    }

    /// Of ["a", "b"], or of "a b" in older files.
    private static func halves(_ pair: JSONValue) -> (String, String)? {
        if let text = pair.string {
            let bytes = text.utf8
            guard let space = bytes.firstIndex(of: 0x20), !bytes[bytes.index(after: space)...].contains(0x20) else {
                return nil
            }
            return (String(text[..<space]), String(text[bytes.index(after: space)...]))
        }
        guard let parts = pair.array, parts.count == 2, let left = parts[0].string, let right = parts[1].string else {
            return nil
        }
        return (left, right)
    }

    func encode(_ word: ArraySlice<Unicode.Scalar>, into ids: inout [Int]) {
        if takesWholeWords, let id = vocabulary.id(of: word) {
            ids.append(id)
            return
        }
        var tokens = characters(word)
        merge(&tokens)
        for token in tokens { ids.append(Int(token)) }
    }

    /// The tokens of single characters. One that has none becomes its bytes, or the unknown token, or nothing.
    private func characters(_ word: ArraySlice<Unicode.Scalar>) -> [Int32] {
        var tokens: [Int32] = []
        tokens.reserveCapacity(word.count)
        var waiting: Int32?
        for scalar in word {
            if let id = single(scalar) {
                if let unknown = waiting { tokens.append(unknown) }
                waiting = nil
                tokens.append(id)
            } else if let bytes = fallback(scalar) {
                tokens += bytes  // before an unknown token that waits, as in the library
            } else if let unknown {
                if let earlier = waiting, !fusesUnknown { tokens.append(earlier) }
                waiting = Int32(unknown)
            }
        }
        if let unknown = waiting { tokens.append(unknown) }
        return tokens
    }

    private func single(_ scalar: Unicode.Scalar) -> Int32? {
        if scalar.value < singles.count {
            let id = singles[Int(scalar.value)]
            return id < 0 ? nil : id
        }
        return vocabulary.id(of: [scalar]).map(Int32.init)
    }

    private func fallback(_ scalar: Unicode.Scalar) -> [Int32]? {
        guard let bytes else { return nil }
        let ids = UTF8.encode(scalar)!.compactMap { bytes[Int($0)].map(Int32.init) }
        return ids.count == UTF8.width(scalar) ? ids : nil
    }

    private struct Symbol {
        var id: Int32
        var previous: Int32
        var next: Int32
        var isGone = false
    }

    /// Merges a word's tokens in the order of the ranks, of equal ones from the left. A heap keeps what may be merged, so
    /// that a word of n characters takes n log n steps.
    private func merge(_ tokens: inout [Int32]) {
        if tokens.count < 2 { return }
        var heap = Heap()
        for at in 1..<tokens.count {
            if let rank = ranks[NumberTable.key(tokens[at - 1], tokens[at])] { heap.push(rank, at - 1) }
        }
        if heap.isEmpty { return }
        var symbols = tokens.indices.map {
            Symbol(id: tokens[$0], previous: Int32($0) - 1, next: $0 + 1 < tokens.count ? Int32($0 + 1) : -1)
        }
        while let (rank, at) = heap.pop() {
            let symbol = symbols[at]
            if symbol.isGone || symbol.next < 0 { continue }
            let right = symbols[Int(symbol.next)]
            // The pair may have become another one since; what counts is which token it makes.
            guard let now = ranks[NumberTable.key(symbol.id, right.id)], merged[Int(now)] == merged[Int(rank)] else {
                continue
            }
            let id = merged[Int(rank)]
            symbols[Int(symbol.next)].isGone = true
            symbols[at].id = id
            symbols[at].next = right.next
            if right.next >= 0 {
                symbols[Int(right.next)].previous = Int32(at)
                if let rank = ranks[NumberTable.key(id, symbols[Int(right.next)].id)] { heap.push(rank, at) }
            }
            if symbol.previous >= 0 {
                let before = Int(symbol.previous)
                if let rank = ranks[NumberTable.key(symbols[before].id, id)] { heap.push(rank, before) }
            }
        }
        tokens = symbols.filter { !$0.isGone }.map(\.id)
    }
}

/// The least of pairs (rank, place) first.
private struct Heap {
    private var items: [UInt64] = []
    var isEmpty: Bool { items.isEmpty }

    mutating func push(_ rank: Int32, _ place: Int) {
        let item = UInt64(rank) << 32 | UInt64(place)
        var at = items.count
        items.append(item)
        while at > 0, items[(at - 1) / 2] > item {
            items[at] = items[(at - 1) / 2]
            at = (at - 1) / 2
        }
        items[at] = item
    }

    mutating func pop() -> (rank: Int32, place: Int)? {
        guard let least = items.first, let item = items.popLast() else { return nil }
        if !items.isEmpty {
            var at = 0
            while 2 * at + 1 < items.count {
                var child = 2 * at + 1
                if child + 1 < items.count, items[child + 1] < items[child] { child += 1 }
                if items[child] >= item { break }
                items[at] = items[child]
                at = child
            }
            items[at] = item
        }
        return (Int32(least >> 32), Int(least & 0xFFFF_FFFF))
    }
}
