import Foundation

/// What the chat screen shows and stores: turns, and what is going on with the last one. It holds no engine and no clock,
/// so that whatever happens (a stop, a memory warning, the background) is one call that leaves it in a state to go on from.
public struct ChatSession: Codable, Sendable, Equatable {
    public enum Speaker: String, Codable, Sendable { case user, assistant }

    public struct Turn: Codable, Sendable, Equatable, Identifiable {
        public let id: UUID
        public let speaker: Speaker
        public fileprivate(set) var text: String
    }

    /// Why an answer ended before its end.
    public enum Interruption: String, Codable, Sendable {
        case stopped, background, memory, length, failed
        /// No room in the context, until the oldest messages are left out.
        case context
        /// No room in the context even without them.
        case full
    }

    public enum State: Codable, Sendable, Equatable {
        case idle
        /// The prompt is being read: tokens done, of all.
        case reading(done: Int, of: Int)
        case writing
        case interrupted(Interruption)
    }

    public private(set) var turns: [Turn] = []
    public private(set) var state = State.idle
    /// Messages at the beginning that no longer fit the context.
    public var forgotten = 0

    public init() {}

    public var isRunning: Bool {
        switch state {
        case .reading, .writing: true
        case .idle, .interrupted: false
        }
    }

    /// Whether the last answer can be taken up where it broke off. One for which the context has no room cannot.
    public var canContinue: Bool {
        guard case .interrupted(let reason) = state else { return false }
        return reason != .full && turns.last != nil
    }

    public var canRegenerate: Bool { !isRunning && turns.contains { $0.speaker == .user } }

    /// The turns that the next prompt is made of: all but the answer that is being written.
    public var asked: ArraySlice<Turn> { turns.last?.speaker == .assistant ? turns.dropLast() : turns[...] }

    /// What of the answer stands already; it follows the prompt when the answer is taken up again.
    public var answered: String { turns.last.flatMap { $0.speaker == .assistant ? $0.text : nil } ?? "" }

    /// Adds a question and begins its answer. False, and nothing changes, while an answer is under way or without text.
    public mutating func send(_ text: String) -> Bool {
        let text = text.trimmingCharacters(in: .whitespacesAndNewlines)
        guard !isRunning, !text.isEmpty else { return false }
        // A question that was never answered makes room: templates take users and assistants in turn.
        if turns.last?.speaker == .user { turns.removeLast() }
        turns.append(Turn(id: UUID(), speaker: .user, text: text))
        state = .reading(done: 0, of: 0)
        return true
    }

    /// Drops the last answer and begins another one to the same question.
    public mutating func regenerate() -> Bool {
        guard canRegenerate else { return false }
        if turns.last?.speaker == .assistant { turns.removeLast() }
        state = .reading(done: 0, of: 0)
        return true
    }

    /// Takes up an answer that broke off.
    public mutating func resume() -> Bool {
        guard canContinue else { return false }
        state = .reading(done: 0, of: 0)
        return true
    }

    /// Tokens of the prompt that have been read.
    public mutating func read(_ done: Int, of all: Int) {
        if case .reading = state { state = .reading(done: done, of: all) }
    }

    /// Text of the answer. What comes after a stop is dropped.
    public mutating func receive(_ text: String) {
        guard isRunning else { return }
        if turns.last?.speaker == .assistant {
            turns[turns.count - 1].text += text
        } else {
            turns.append(Turn(id: UUID(), speaker: .assistant, text: text))
        }
        state = .writing
    }

    /// The answer came to its own end.
    public mutating func finish() {
        if isRunning { state = .idle }
    }

    /// The answer broke off. One that is over already stays as it is.
    public mutating func interrupt(_ why: Interruption) {
        if isRunning { state = .interrupted(why) }
    }

    /// The context was full before the answer's end. Where more than one exchange stands in the prompt and the oldest can be
    /// dropped, that makes room to go on.
    public mutating func fillContext(dropsOldest: Bool) {
        interrupt(dropsOldest && asked.count > forgotten + 2 ? .context : .full)
    }

    /// A stored session: nothing runs in it any more, whatever was going on when it was stored.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        turns = try values.decode([Turn].self, forKey: .turns)
        state = try values.decode(State.self, forKey: .state)
        forgotten = try values.decode(Int.self, forKey: .forgotten)
        interrupt(.background)
    }
}
