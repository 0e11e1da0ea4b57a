/// Decodes tokens one at a time into whole characters. The results of `push` and `end` together are the decoded text.
public struct TextStream {
    // A character has at most four bytes and a token at least one, so more tokens cannot be an incomplete character.
    private static let maximumPending = 4

    private let tokenizer: Tokenizer
    // The last tokens whose text was returned, as context: decoders treat the beginning of a text differently.
    private var returned: [Int] = []
    private var pending: [Int] = []

    init(_ tokenizer: Tokenizer) { self.tokenizer = tokenizer }

    /// Returns the text that this token completes; it is empty while a character is incomplete.
    public mutating func push(_ token: Int) -> String {
        if tokenizer.specialIDs.contains(token) { return "" }
        pending.append(token)
        let text = pendingText()
        if text.unicodeScalars.last == "\u{FFFD}", pending.count < Self.maximumPending { return "" }
        return release(text)
    }

    /// Returns the text of the pending tokens: nothing, unless the last character was never completed.
    public mutating func end() -> String { release(pendingText()) }

    private func pendingText() -> String {
        let before = tokenizer.decode(returned, special: true).unicodeScalars.count
        let text = tokenizer.decode(returned + pending, special: true).unicodeScalars
        return String(text.dropFirst(before))
    }

    /// Moves the pending tokens to the context. A token without text of its own (the space that begins a text) does not
    /// replace the context before it.
    private mutating func release(_ text: String) -> String {
        (returned, pending) = (text.isEmpty ? returned + pending : pending, [])
        return text
    }
}
