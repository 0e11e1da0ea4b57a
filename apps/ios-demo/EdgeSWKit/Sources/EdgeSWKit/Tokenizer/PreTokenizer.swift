/// The pre-tokenizer of a tokenizer, which splits a text into words. Tokens never span words.
indirect enum PreTokenizer: Sendable {
    enum Behavior: String, Sendable {
        case removed = "Removed", isolated = "Isolated", contiguous = "Contiguous"
        case mergedWithPrevious = "MergedWithPrevious", mergedWithNext = "MergedWithNext"
    }

    case sequence([PreTokenizer])
    case byteLevel(prefixSpace: Bool, words: Pattern?)
    case split(Pattern, Behavior, inverted: Bool)
    case metaspace(Metaspace, split: Bool)

    // GPT-2's pattern, which the library does not write into the file.
    private static let words = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

    /// Throws TokenizerError for an unsupported or damaged pre-tokenizer.
    init(_ json: JSONValue) throws {
        switch json["type"]?.string {
        case "Sequence":
            guard let parts = json["pretokenizers"]?.array else {
                throw TokenizerError.damaged("a pre-tokenizer has no parts")
            }
            self = .sequence(try parts.map(PreTokenizer.init))
        case "ByteLevel":
            guard let prefix = json["add_prefix_space"]?.bool else {
                throw TokenizerError.damaged("the byte-level pre-tokenizer has no add_prefix_space")
            }
            self = .byteLevel(
                prefixSpace: prefix, words: json["use_regex"]?.bool ?? true ? try Pattern(Self.words) : nil)
        case "Split":
            guard let behavior = json["behavior"]?.string.flatMap(Behavior.init), let invert = json["invert"]?.bool else {
                throw TokenizerError.damaged("the Split pre-tokenizer has no behavior")
            }
            self = .split(try pattern(json["pattern"]), behavior, inverted: invert)
        case "Digits":
            let single = json["individual_digits"]?.bool ?? false
            self = .split(try Pattern(#"\p{N}"#), single ? .isolated : .contiguous, inverted: false)
        case "WhitespaceSplit": self = .split(try Pattern(#"\s"#), .removed, inverted: false)
        case "Metaspace": self = .metaspace(try Metaspace(json), split: json["split"]?.bool ?? true)
        case let name: throw TokenizerError.unsupported(part: "pre-tokenizer", name: name ?? "without a type")
        }
    }

    func apply(_ pieces: [Piece]) -> [Piece] {
        switch self {
        case .sequence(let parts): parts.reduce(pieces) { $1.apply($0) }
        case .byteLevel(let prefixSpace, let words):
            flatMap(pieces) { piece in
                var piece = piece
                if prefixSpace, piece.text.first != " " { piece.prepend([" "]) }
                return (words.map { Self.split(piece, $0, .isolated, false) } ?? [piece]).map { word in
                    var word = word
                    word.replaceText(ByteLevel.scalars(of: word.text))
                    return word
                }
            }
        case .split(let pattern, let behavior, let inverted): flatMap(pieces) { Self.split($0, pattern, behavior, inverted) }
        case .metaspace(let metaspace, let split):
            flatMap(pieces) { piece in
                var piece = piece
                metaspace.apply(&piece)
                return split ? Self.split(piece, metaspace.pattern, .mergedWithNext, false) : [piece]
            }
        }
    }

    /// Applies `split` to each piece of text, and drops empty results. Added tokens are passed on.
    private func flatMap(_ pieces: [Piece], _ split: (Piece) -> [Piece]) -> [Piece] {
        var result: [Piece] = []
        result.reserveCapacity(pieces.count)
        for piece in pieces {
            if piece.token != nil { result.append(piece) } else { result += split(piece).lazy.filter { !$0.text.isEmpty } }
        }
        return result
    }

    private static func split(_ piece: Piece, _ pattern: Pattern, _ behavior: Behavior, _ inverted: Bool) -> [Piece] {
        var parts: [(range: Range<Int>, isMatch: Bool)] = []
        var index = piece.text.startIndex
        for match in pattern.matches(piece.text) {
            if index < match.lowerBound { parts.append((index..<match.lowerBound, inverted)) }
            parts.append((match, !inverted))
            index = match.upperBound
        }
        if index < piece.text.endIndex { parts.append((index..<piece.text.endIndex, inverted)) }
        return ranges(parts, behavior).map { piece.part($0) }
    }

    private static func ranges(_ parts: [(range: Range<Int>, isMatch: Bool)], _ behavior: Behavior) -> [Range<Int>] {
        var result: [Range<Int>] = []
        var matched = false
        switch behavior {
        case .isolated: return parts.map(\.range)
        case .removed: return parts.filter { !$0.isMatch }.map(\.range)
        case .contiguous, .mergedWithPrevious:
            for (range, isMatch) in parts {
                let joins = behavior == .contiguous ? isMatch == matched : isMatch && !matched
                if joins, let last = result.last {
                    result[result.count - 1] = last.lowerBound..<range.upperBound
                } else {
                    result.append(range)
                }
                matched = isMatch
            }
            return result
        case .mergedWithNext:
            for (range, isMatch) in parts.reversed() {
                if isMatch, !matched, let last = result.last {
                    result[result.count - 1] = range.lowerBound..<last.upperBound
                } else {
                    result.append(range)
                }
                matched = isMatch
            }
            return result.reversed()
        }
    }
}
