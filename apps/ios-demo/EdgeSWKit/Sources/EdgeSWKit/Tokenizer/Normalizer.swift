/// The normalizer of a tokenizer, which changes a text before it is split into words.
indirect enum Normalizer: Sendable {
    case sequence([Normalizer])
    case form(NormalizationForm)
    case lowercase
    case prepend([Unicode.Scalar])
    case replace(Pattern, [Unicode.Scalar])
    case strip(left: Bool, right: Bool)
    case precompiled(Charsmap)

    /// Throws TokenizerError for an unsupported or damaged normalizer.
    init(_ json: JSONValue) throws {
        switch json["type"]?.string {
        case "Sequence":
            guard let parts = json["normalizers"]?.array else { throw TokenizerError.damaged("a normalizer has no parts") }
            self = .sequence(try parts.map(Normalizer.init))
        case "NFC": self = .form(NormalizationForm(isCompatible: false, composes: true))
        case "NFD": self = .form(NormalizationForm(isCompatible: false, composes: false))
        case "NFKC": self = .form(NormalizationForm(isCompatible: true, composes: true))
        case "NFKD": self = .form(NormalizationForm(isCompatible: true, composes: false))
        case "Lowercase": self = .lowercase
        case "Prepend":
            guard let text = json["prepend"]?.string else { throw TokenizerError.damaged("a normalizer has no text") }
            self = .prepend(Array(text.unicodeScalars))
        case "Replace":
            let (pattern, content) = try replacement(json)
            self = .replace(pattern, content)
        case "Strip":
            guard let left = json["strip_left"]?.bool, let right = json["strip_right"]?.bool else {
                throw TokenizerError.damaged("a normalizer has no sides")
            }
            self = .strip(left: left, right: right)
        case "Precompiled":
            // A null table replaces nothing.
            self = try json["precompiled_charsmap"].map { .precompiled(try Charsmap(base64: $0.string)) } ?? .sequence([])
        case let name: throw TokenizerError.unsupported(part: "normalizer", name: name ?? "without a type")
        }
    }

    func apply(_ piece: inout Piece) {
        switch self {
        case .sequence(let parts): for part in parts { part.apply(&piece) }
        case .form(let form): if !piece.text.allSatisfy(\.isASCII) { piece.replaceText(form.apply(piece.text)) }
        case .lowercase: piece.replaceText(piece.text.flatMap(\.lowercased))
        case .prepend(let text): if !piece.text.isEmpty { piece.prepend(text) }
        case .replace(let pattern, let content): replace(pattern, content, &piece)
        case .strip(let left, let right):
            let start = left ? piece.text.firstIndex { !$0.isSpace } ?? piece.text.endIndex : piece.text.startIndex
            let end = right ? piece.text.lastIndex { !$0.isSpace }.map { $0 + 1 } ?? start : piece.text.endIndex
            piece = piece.part(start..<max(start, end))
        case .precompiled(let charsmap): piece.replaceText(charsmap.normalize(piece.text))
        }
    }

    private func replace(_ pattern: Pattern, _ content: [Unicode.Scalar], _ piece: inout Piece) {
        let matches = pattern.matches(piece.text)
        guard let first = matches.first else { return }
        if content.isEmpty, first.lowerBound == piece.text.startIndex, !first.isEmpty { piece.isFirst = false }
        piece.replaceText(replaced(piece.text, matches, content))
    }
}

/// The pattern and the replacement of a Replace normalizer or decoder.
func replacement(_ json: JSONValue) throws -> (Pattern, [Unicode.Scalar]) {
    guard let content = json["content"]?.string else { throw TokenizerError.damaged("a replacement is missing") }
    return (try pattern(json["pattern"]), Array(content.unicodeScalars))
}

/// The pattern of {"String": ...} or {"Regex": ...}.
func pattern(_ json: JSONValue?) throws -> Pattern {
    if let text = json?["String"]?.string { return Pattern(literal: text) }
    guard let source = json?["Regex"]?.string else { throw TokenizerError.damaged("a pattern is missing") }
    return try Pattern(source)
}

func replaced(
    _ text: ArraySlice<Unicode.Scalar>, _ matches: [Range<Int>], _ content: [Unicode.Scalar]
) -> [Unicode.Scalar] {
    var result: [Unicode.Scalar] = []
    result.reserveCapacity(text.count)
    var index = text.startIndex
    for match in matches {
        result += text[index..<match.lowerBound]
        result += content
        index = match.upperBound
    }
    return result + text[index...]
}
