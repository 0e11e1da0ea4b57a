import Foundation

/// A chat: its messages, and the prompt made of as many of them as the context has room for.
public struct Conversation: Sendable {
    public let form: ChatForm
    /// What the model is told to be; kept when messages are dropped. nil: what its template says by itself.
    public var system: String?
    /// Questions and answers in turns, begun by a question.
    public var messages: [ChatMessage] = []
    /// How many of the oldest messages the prompts leave out.
    public private(set) var dropped = 0

    /// `dropped`: of a chat that is taken up again, how many messages its prompts left out; its first prompt would be made
    /// and encoded again for each of them otherwise.
    public init(form: ChatForm, system: String? = nil, dropped: Int = 0) {
        (self.form, self.system, self.dropped) = (form, system, dropped)
    }

    /// The prompt for the messages, which must end in a question; encode it with `bos: false`.
    ///
    /// Where it leaves fewer than `answer` of the `context`'s tokens, the oldest questions and their answers are dropped
    /// until a quarter more than that is free: the prompts that follow then begin alike, and what the cache holds of
    /// them is read once. Of an answer that is taken up, `answer` includes what stands of it: it may be most of the context.
    /// The last question stays, also where it leaves less: half the context is enough then. Throws `ChatError`, or
    /// `GenerationError.promptTooLong` where the last question alone has too many tokens.
    public mutating func prompt(
        tokenizer: Tokenizer, context: Int, answer: Int = 128, now: Date = Date()
    ) throws -> String {
        dropped = max(min(dropped, messages.count - 1), 0) / 2 * 2
        let most = max(context - max(answer, 1), 0)
        let mostAlone = context - max(min(answer, context / 2), 1)
        var limit = most
        while true {
            let text = try form.prompt(lead + messages.dropFirst(dropped), now: now)
            let count = tokenizer.encode(text, bos: false).count
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

    private var lead: [ChatMessage] { system.map { [ChatMessage(role: .system, content: $0)] } ?? [] }
}
