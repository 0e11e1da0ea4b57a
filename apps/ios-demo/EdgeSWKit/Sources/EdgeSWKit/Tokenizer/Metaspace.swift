/// SentencePiece's treatment of spaces: a visible character replaces them, and one may be added in front of a text.
struct Metaspace: Sendable {
    enum Prefix: String, Sendable { case always, first, never }

    let character: Unicode.Scalar
    let prefix: Prefix
    let pattern: Pattern

    /// Throws TokenizerError for settings of the wrong types.
    init(_ json: JSONValue) throws {
        guard let text = json["replacement"]?.string, text.unicodeScalars.count == 1,
            let character = text.unicodeScalars.first,
            let prefix = json["prepend_scheme"].map({ $0.string.flatMap(Prefix.init) }) ?? .always
        else { throw TokenizerError.damaged("the settings of Metaspace are invalid") }
        self.character = character
        // Older files have only this switch.
        self.prefix = json["add_prefix_space"]?.bool == false ? .never : prefix
        pattern = Pattern(literal: text)
    }

    func apply(_ piece: inout Piece) {
        piece.replaceText(piece.text.map { $0 == " " ? character : $0 })
        if piece.text.first != character, prefix == .always || (prefix == .first && piece.isFirst) {
            piece.prepend([character])
        }
    }

    /// The text of a token; `isFirst` if it begins the text.
    func decoded(_ token: String, isFirst: Bool) -> String {
        var result = String.UnicodeScalarView()
        for scalar in token.unicodeScalars {
            if scalar != character { result.append(scalar) } else if !isFirst || prefix == .never { result.append(" ") }
        }
        return String(result)
    }
}
