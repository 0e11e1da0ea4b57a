/// Stand-in until the merge.
public struct TextStream {
    private let tokenizer: Tokenizer
    private var held: [UInt8] = []

    init(_ tokenizer: Tokenizer) { self.tokenizer = tokenizer }

    public mutating func push(_ token: Int) -> String {
        held += tokenizer.content([token], special: false)
        guard String(validating: held, as: UTF8.self) != nil || held.count > 4 else { return "" }
        return end()
    }

    public mutating func end() -> String {
        defer { held = [] }
        return String(decoding: held, as: UTF8.self)
    }
}
