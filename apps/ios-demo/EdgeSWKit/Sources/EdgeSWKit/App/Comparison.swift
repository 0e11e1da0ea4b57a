/// The answers to the same question with and without the super weights' correction.
public struct Comparison: Sendable, Equatable {
    public struct Answer: Sendable, Equatable {
        public var text = ""
        public var isComplete = false

        public init(text: String = "", isComplete: Bool = false) {
            (self.text, self.isComplete) = (text, isComplete)
        }
    }

    public private(set) var prompt = ""
    public private(set) var corrected: Answer?
    public private(set) var uncorrected: Answer?

    public init() {}

    /// Begins an answer. Answers to another prompt are dropped, since only the same question is compared, and so is an
    /// interrupted answer.
    public mutating func begin(_ prompt: String, corrected: Bool) {
        if prompt != self.prompt { self = Comparison() }
        if self[!corrected]?.isComplete == false { self[!corrected] = nil }
        self.prompt = prompt
        self[corrected] = Answer()
    }

    public mutating func receive(_ text: String, corrected: Bool) {
        self[corrected]?.text += text
    }

    public mutating func finish(corrected: Bool) {
        self[corrected]?.isComplete = true
    }

    public subscript(corrected: Bool) -> Answer? {
        get { corrected ? self.corrected : uncorrected }
        set { if corrected { self.corrected = newValue } else { uncorrected = newValue } }
    }

    /// The number of characters that both answers begin with, once both are complete.
    public var agreement: Int? {
        guard let corrected, let uncorrected, corrected.isComplete, uncorrected.isComplete else { return nil }
        return zip(corrected.text, uncorrected.text).prefix { $0 == $1 }.count
    }
}
