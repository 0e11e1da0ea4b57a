/// Byte-pair encoding: neighbouring tokens are merged, the pair that was learned first before all others.
struct BytePairEncoding: Sendable {
    let vocabulary: TokenTable
    private let ranks: NumberTable  // (left, right) -> rank
    private let merged: [Int32]  // rank -> merged token
    private let singles: [Int32]  // character below U+10000 -> its token, or -1
    private let bytes: [Int?]?
    private let unknown: Int?
    private let fusesUnknown: Bool
    private let ignoresMerges: Bool

    /// Throws TokenizerError for a damaged model, and for dropout, subword prefixes and word suffixes.
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
                guard let id = entry.value.integer else { throw TokenizerError.damaged("a token has no id") }
                return (entry.key, id)
            })
        self.vocabulary = vocabulary
        (ranks, merged) = try Self.merges(pairs, vocabulary)
        singles = (0...0xFFFF).map { (value: UInt32) in
            Unicode.Scalar(value).flatMap { vocabulary.id(of: [$0]) }.map(Int32.init) ?? -1
        }
        bytes = json["byte_fallback"]?.bool == true ? byteTokens(vocabulary) : nil
        // If the vocabulary lacks this token, the library fails at the first character that needs it.
        unknown = json["unk_token"]?.string.flatMap(vocabulary.id)
        fusesUnknown = json["fuse_unk"]?.bool ?? false
        ignoresMerges = json["ignore_merges"]?.bool ?? false
    }

    private static func merges(_ pairs: [JSONValue], _ vocabulary: TokenTable) throws -> (NumberTable, [Int32]) {
        var ranks = NumberTable(capacity: pairs.count)
        var merged: [Int32] = []
        merged.reserveCapacity(pairs.count)
        for pair in pairs {
            guard let (left, right) = halves(pair), let first = vocabulary.id(of: left),
                let second = vocabulary.id(of: right), let whole = vocabulary.id(of: left + right)
            else { throw TokenizerError.damaged("merge \(merged.count) is not between tokens of the vocabulary") }
            ranks.set(NumberTable.key(Int32(first), Int32(second)), Int32(merged.count))
            merged.append(Int32(whole))
        }
        return (ranks, merged)
    }

    /// The two tokens of a merge, ["a", "b"] or, in older files, "a b".
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
        if ignoresMerges, let id = vocabulary.id(of: word) {
            ids.append(id)
            return
        }
        var tokens = characters(word)
        merge(&tokens)
        for token in tokens { ids.append(Int(token)) }
    }

    /// The tokens of the single characters. A character without a token becomes its bytes, the unknown token or nothing.
    private func characters(_ word: ArraySlice<Unicode.Scalar>) -> [Int32] {
        var tokens: [Int32] = []
        tokens.reserveCapacity(word.count)
        var pendingUnknown: Int32?
        for scalar in word {
            if let id = single(scalar) {
                if let pendingUnknown { tokens.append(pendingUnknown) }
                pendingUnknown = nil
                tokens.append(id)
            } else if let bytes = fallback(scalar) {
                tokens += bytes  // before a pending unknown token, as in the library
            } else if let unknown {
                if let pendingUnknown, !fusesUnknown { tokens.append(pendingUnknown) }
                pendingUnknown = Int32(unknown)
            }
        }
        if let pendingUnknown { tokens.append(pendingUnknown) }
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
        var isMerged = false
    }

    /// Merges a word's tokens by rank, and equal ranks from the left. A heap holds the pairs that can be merged, so that a
    /// word of n characters takes n log n steps.
    private func merge(_ tokens: inout [Int32]) {
        if tokens.count < 2 { return }
        var heap = Heap()
        for index in 1..<tokens.count {
            if let rank = ranks[NumberTable.key(tokens[index - 1], tokens[index])] { heap.push(rank, index - 1) }
        }
        if heap.isEmpty { return }
        var symbols = tokens.indices.map {
            Symbol(id: tokens[$0], previous: Int32($0) - 1, next: $0 + 1 < tokens.count ? Int32($0 + 1) : -1)
        }
        while let (rank, index) = heap.pop() {
            let symbol = symbols[index]
            if symbol.isMerged || symbol.next < 0 { continue }
            let right = symbols[Int(symbol.next)]
            // The pair may have changed since it was pushed; what matters is the token that it makes.
            guard let current = ranks[NumberTable.key(symbol.id, right.id)], merged[Int(current)] == merged[Int(rank)] else {
                continue
            }
            let id = merged[Int(rank)]
            symbols[Int(symbol.next)].isMerged = true
            symbols[index].id = id
            symbols[index].next = right.next
            if right.next >= 0 {
                symbols[Int(right.next)].previous = Int32(index)
                if let rank = ranks[NumberTable.key(id, symbols[Int(right.next)].id)] { heap.push(rank, index) }
            }
            if symbol.previous >= 0 {
                let before = Int(symbol.previous)
                if let rank = ranks[NumberTable.key(symbols[before].id, id)] { heap.push(rank, before) }
            }
        }
        tokens = symbols.filter { !$0.isMerged }.map(\.id)
    }
}

/// A priority queue of pairs (rank, position), the smallest first.
private struct Heap {
    private var items: [UInt64] = []
    var isEmpty: Bool { items.isEmpty }

    mutating func push(_ rank: Int32, _ position: Int) {
        let item = UInt64(rank) << 32 | UInt64(position)
        var index = items.count
        items.append(item)
        while index > 0, items[(index - 1) / 2] > item {
            items[index] = items[(index - 1) / 2]
            index = (index - 1) / 2
        }
        items[index] = item
    }

    mutating func pop() -> (rank: Int32, position: Int)? {
        guard let least = items.first, let item = items.popLast() else { return nil }
        if !items.isEmpty {
            var index = 0
            while 2 * index + 1 < items.count {
                var child = 2 * index + 1
                if child + 1 < items.count, items[child + 1] < items[child] { child += 1 }
                if items[child] >= item { break }
                items[index] = items[child]
                index = child
            }
            items[index] = item
        }
        return (Int32(least >> 32), Int(least & 0xFFFF_FFFF))
    }
}
