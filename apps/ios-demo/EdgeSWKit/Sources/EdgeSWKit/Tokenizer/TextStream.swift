/// Token numbers in, text out, whole characters only: what `push` and `end` give adds up to the decoded text.
public struct TextStream {
    // A character has at most four bytes and a token at least one, so more tokens than this are no half character.
    private static let longest = 4

    private let tokenizer: Tokenizer
    // The last tokens whose text is out: decoders treat a text's beginning differently.
    private var shown: [Int] = []
    private var held: [Int] = []

    init(_ tokenizer: Tokenizer) { self.tokenizer = tokenizer }

    /// The text this token completes; empty while a character is still incomplete.
    public mutating func push(_ token: Int) -> String {
        if tokenizer.specialIDs.contains(token) { return "" }
        held.append(token)
        let text = pending()
        if text.unicodeScalars.last == "\u{FFFD}", held.count < Self.longest { return "" }
        return out(text)
    }

    /// What is still held back: nothing, unless the last character never was completed.
    public mutating func end() -> String { out(pending()) }

    private func pending() -> String {
        let before = tokenizer.decode(shown, special: true).unicodeScalars.count
        let text = tokenizer.decode(shown + held, special: true).unicodeScalars
        return String(text.dropFirst(before))
    }

    /// A token without text of its own (the space that begins a text) stays as context for the next.
    private mutating func out(_ text: String) -> String {
        (shown, held) = (text.isEmpty ? shown + held : held, [])
        return text
    }
}
