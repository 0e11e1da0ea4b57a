import Foundation

/// What the chat screen shows and stores: the turns, and the state of the last one. It contains neither an engine nor a
/// clock, so that every event (a stop, a memory warning, the background) is one call after which the chat can continue.
public struct ChatSession: Codable, Sendable, Equatable {
    public enum Speaker: String, Codable, Sendable { case user, assistant }

    public struct Turn: Codable, Sendable, Equatable, Identifiable {
        public let id: UUID
        public let speaker: Speaker
        public fileprivate(set) var text: String
    }

    /// Why an answer is incomplete.
    public enum Interruption: String, Codable, Sendable {
        case stopped, background, memory, length, failed
        /// The context is full until the oldest messages are left out.
        case context
        /// The context is full even without them.
        case full
    }

    public enum State: Codable, Sendable, Equatable {
        case idle
        /// The prompt is being read: the number of tokens read, and of all.
        case reading(done: Int, of: Int)
        case writing
        case interrupted(Interruption)
    }

    public private(set) var turns: [Turn] = []
    public private(set) var state = State.idle
    /// The number of oldest messages that no longer fit the context.
    public var dropped = 0

    public init() {}

    public var isRunning: Bool {
        switch state {
        case .reading, .writing: true
        case .idle, .interrupted: false
        }
    }

    /// Whether the last answer can be continued. One for which the context has no room cannot.
    public var canContinue: Bool {
        guard case .interrupted(let reason) = state else { return false }
        return reason != .full && turns.last != nil
    }

    public var canRegenerate: Bool { !isRunning && turns.contains { $0.speaker == .user } }

    /// The turns in the next prompt: all but the answer that is being written.
    public var promptTurns: ArraySlice<Turn> { turns.last?.speaker == .assistant ? turns.dropLast() : turns[...] }

    /// The text of the answer so far. It follows the prompt when the answer is continued.
    public var partialAnswer: String { turns.last.flatMap { $0.speaker == .assistant ? $0.text : nil } ?? "" }

    /// Adds a question and begins its answer. Returns false, and changes nothing, if an answer is being written or the text
    /// is empty.
    public mutating func send(_ text: String) -> Bool {
        let text = text.trimmingCharacters(in: .whitespacesAndNewlines)
        guard !isRunning, !text.isEmpty else { return false }
        // Replaces a question without an answer: templates take user and assistant messages in turns.
        if turns.last?.speaker == .user { turns.removeLast() }
        turns.append(Turn(id: UUID(), speaker: .user, text: text))
        state = .reading(done: 0, of: 0)
        return true
    }

    /// Removes the last answer and begins another one to the same question.
    public mutating func regenerate() -> Bool {
        guard canRegenerate else { return false }
        if turns.last?.speaker == .assistant { turns.removeLast() }
        state = .reading(done: 0, of: 0)
        return true
    }

    /// Continues an interrupted answer.
    public mutating func resume() -> Bool {
        guard canContinue else { return false }
        state = .reading(done: 0, of: 0)
        return true
    }

    /// Records how many tokens of the prompt have been read.
    public mutating func read(_ done: Int, of all: Int) {
        if case .reading = state { state = .reading(done: done, of: all) }
    }

    /// Appends text to the answer. Text that arrives after a stop is dropped.
    public mutating func receive(_ text: String) {
        guard isRunning else { return }
        if turns.last?.speaker == .assistant {
            turns[turns.count - 1].text += text
        } else {
            turns.append(Turn(id: UUID(), speaker: .assistant, text: text))
        }
        state = .writing
    }

    /// Records that the answer is complete.
    public mutating func finish() {
        if isRunning { state = .idle }
    }

    /// Records that the answer was interrupted. A complete answer stays as it is.
    public mutating func interrupt(_ reason: Interruption) {
        if isRunning { state = .interrupted(reason) }
    }

    /// Records that the context was full before the answer was complete. If the prompt contains more than one exchange and
    /// the oldest can be dropped, the answer can be continued.
    public mutating func fillContext(dropsOldest: Bool) {
        interrupt(dropsOldest && promptTurns.count > dropped + 2 ? .context : .full)
    }

    /// Restores a stored session. An answer that was being written is marked as interrupted.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        turns = try values.decode([Turn].self, forKey: .turns)
        state = try values.decode(State.self, forKey: .state)
        dropped = try values.decode(Int.self, forKey: .dropped)
        interrupt(.background)
    }
}
