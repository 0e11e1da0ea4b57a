/// Tokens that are found as a whole in a text before it is split into words, such as the markers of turns and of a text's
/// end.
struct AddedTokens: Sendable {
    struct Token: Sendable {
        var content: String
        var isSingleWord = false
        var stripsLeft = false
        var stripsRight = false
        var isNormalized = false
        var isSpecial = false
    }

    private(set) var byID: [Int: Token] = [:]
    /// A token's text when it is decoded: its content, normalized if the token is searched for in the normalized text.
    private(set) var texts: [Int: String] = [:]
    /// The tokens that decoding skips: those whose text (see `texts`) is the content of a special token.
    private(set) var skippedIDs: Set<Int> = []
    private var ids: [[UInt8]: Int] = [:]
    private var largest: Int?
    // In the order in which they were added. A token that is added twice with different options is searched for by both.
    private var special: [Token] = []
    private var specialContents: Set<[UInt8]> = []
    private var plain: [Token] = []
    private var inText = ScalarTrie(capacity: 0)
    private var inNormalized = ScalarTrie(capacity: 0)

    /// Throws TokenizerError for an entry with a value of the wrong type.
    init(_ json: JSONValue?, model: Model, normalizer: Normalizer?) throws {
        let tokens = try (json?.array ?? []).map { entry in
            guard let content = entry["content"]?.string, let special = entry["special"]?.bool else {
                throw TokenizerError.damaged("an added token has no content")
            }
            return Token(
                content: content, isSingleWord: entry["single_word"]?.bool ?? false,
                stripsLeft: entry["lstrip"]?.bool ?? false, stripsRight: entry["rstrip"]?.bool ?? false,
                isNormalized: entry["normalized"]?.bool ?? !special, isSpecial: special)
        }
        add(tokens, model: model, normalizer: normalizer)
    }

    func id(of content: String) -> Int? { ids[Array(content.utf8)] }

    /// Adds tokens. A token in the model's vocabulary keeps its id, others get the next free one; the ids in the file are
    /// ignored.
    mutating func add(_ tokens: [Token], model: Model, normalizer: Normalizer?) {
        for token in tokens where token.isSpecial && !token.content.isEmpty {
            if specialContents.insert(Array(token.content.utf8)).inserted { special.append(token) }
        }
        for token in tokens where !token.content.isEmpty {
            let known = id(of: token.content)
            if let known, let earlier = byID[known], hasSameOptions(earlier, token) { continue }
            let next = max(model.count, largest.map { $0 + 1 } ?? 0)
            let id = known ?? model.vocabulary.id(of: token.content) ?? next
            ids[Array(token.content.utf8)] = id
            largest = max(largest ?? 0, id)
            byID[id] = token
            if !specialContents.contains(Array(token.content.utf8)) { plain.append(token) }
        }
        (inText, inNormalized) = (ScalarTrie(capacity: 64), ScalarTrie(capacity: 64))
        for token in special + plain {
            guard let id = id(of: token.content) else { continue }
            var piece = Piece(Array(token.content.unicodeScalars)[...], isFirst: true)
            if token.isNormalized {
                normalizer?.apply(&piece)
                inNormalized.add(piece.text, id)
            } else {
                inText.add(piece.text, id)
            }
            if byID[id]?.isNormalized == token.isNormalized { texts[id] = String(String.UnicodeScalarView(piece.text)) }
        }
        let others = model.vocabulary.allIDs(of: special.map(\.content)).filter { texts[$0] == nil }
        skippedIDs = Set(texts.filter { specialContents.contains(Array($0.value.utf8)) }.keys).union(others)
    }

    private func hasSameOptions(_ one: Token, _ other: Token) -> Bool {
        one.isSingleWord == other.isSingleWord && one.stripsLeft == other.stripsLeft
            && one.stripsRight == other.stripsRight && one.isNormalized == other.isNormalized
            && one.isSpecial == other.isSpecial
    }

    /// Splits a text into added tokens and the normalized text between them.
    func split(_ text: [Unicode.Scalar], normalizer: Normalizer?) -> [Piece] {
        split(Piece(text[...], isFirst: true), inText).flatMap { piece in
            if piece.token != nil { return [piece] }
            var piece = piece
            normalizer?.apply(&piece)
            return split(piece, inNormalized)
        }
    }

    /// Finds the leftmost added token, the longest of several there, and continues after it.
    private func split(_ piece: Piece, _ trie: ScalarTrie) -> [Piece] {
        let text = piece.text
        var parts: [Piece] = []
        var (index, done) = (text.startIndex, text.startIndex)
        while index < text.endIndex {
            var (end, id) = (-1, -1)
            trie.matches(text, from: index) { (end, id) = ($0, $1) }
            guard end >= 0, let token = byID[id] else {
                index += 1
                continue
            }
            var start = index
            index = end
            if token.isSingleWord, isWord(text, start - 1) || isWord(text, end) { continue }
            if token.stripsLeft {
                while start > text.startIndex, text[start - 1].isSpace { start -= 1 }
                start = max(start, done)
            }
            if token.stripsRight {
                while end < text.endIndex, text[end].isSpace { end += 1 }
            }
            if done < start { parts.append(piece.part(done..<start)) }
            parts.append(Piece(text[index..<index], isFirst: false, token: id))
            done = end
        }
        if done < text.endIndex { parts.append(piece.part(done..<text.endIndex)) }
        return parts
    }

    private func isWord(_ text: ArraySlice<Unicode.Scalar>, _ index: Int) -> Bool {
        text.indices.contains(index) && (text[index].isWord || text[index].properties.isJoinControl)
    }
}
