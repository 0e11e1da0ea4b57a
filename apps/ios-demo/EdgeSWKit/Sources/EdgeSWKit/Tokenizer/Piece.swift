/// A part of a text that is being tokenized.
struct Piece {
    var text: ArraySlice<Unicode.Scalar>
    /// Whether it begins at the beginning of the input.
    var isFirst: Bool
    /// The added token that it is; nil for text.
    var token: Int?

    init(_ text: ArraySlice<Unicode.Scalar>, isFirst: Bool, token: Int? = nil) {
        (self.text, self.isFirst, self.token) = (text, isFirst, token)
    }

    func part(_ range: Range<Int>, token: Int? = nil) -> Piece {
        Piece(text[range], isFirst: isFirst && range.lowerBound == text.startIndex, token: token)
    }

    mutating func replaceText(_ scalars: [Unicode.Scalar]) { text = scalars[...] }

    mutating func prepend(_ scalars: [Unicode.Scalar]) { replaceText(scalars + text) }
}
