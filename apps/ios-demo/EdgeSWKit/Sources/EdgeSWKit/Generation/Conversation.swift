import Foundation

/// A chat's messages. Its prompts contain as many of them as fit into the context.
public struct Conversation: Sendable {
    public let format: ChatFormat
    /// The system prompt, which stays when messages are dropped. nil: the template's default, if it has one.
    public var system: String?
    /// Questions and answers in turns, beginning with a question.
    public var messages: [ChatMessage] = []
    /// The number of oldest messages that the prompts leave out.
    public private(set) var dropped = 0

    /// `dropped` is the number of messages that the prompts of a restored chat left out. Without it, the first prompt would
    /// be rendered and encoded once for each of them.
    public init(format: ChatFormat, system: String? = nil, dropped: Int = 0) {
        (self.format, self.system, self.dropped) = (format, system, dropped)
    }

    /// Returns the prompt for the messages, which must end with a question. Encode it without special tokens.
    ///
    /// If the prompt leaves fewer than `answer` of the `context`'s tokens, the oldest questions and their answers are
    /// dropped until a quarter of the prompt's limit is free as well: the prompts that follow then share a beginning, which
    /// the cache reads once. `answer` includes the tokens of an answer that is continued, so it may be most of the context.
    /// The last question is never dropped; half of the context is then enough room for the answer. Throws `ChatError`, or
    /// `GenerationError.promptTooLong` if the last question alone has too many tokens.
    public mutating func prompt(
        tokenizer: Tokenizer, context: Int, answer: Int = 128, now: Date = Date()
    ) throws -> String {
        dropped = max(min(dropped, messages.count - 1), 0) / 2 * 2
        let most = max(context - max(answer, 1), 0)
        let mostAlone = context - max(min(answer, context / 2), 1)
        var limit = most
        while true {
            let text = try format.prompt(systemMessages + messages.dropFirst(dropped), now: now)
            let count = tokenizer.encode(text, addSpecialTokens: false).count
            if count <= limit { return text }
            limit = most - most / 4
            if dropped + 2 < messages.count {
                dropped += 2
            } else if count <= mostAlone {
                return text
            } else {
                throw GenerationError.promptTooLong(tokens: count, context: context)
            }
        }
    }

    private var systemMessages: [ChatMessage] { system.map { [ChatMessage(role: .system, content: $0)] } ?? [] }
}
