import EdgeSWKit

/// A conversation's prompt, by the package's chat format or, if it has none, as plain text.
struct Prompt: Sendable {
    let text: String
    /// Whether the tokenizer adds what it puts around a text. Chat formats contain their own.
    let addSpecialTokens: Bool

    /// The prompt of a package without a chat format, whose model continues the text.
    static func plain(_ messages: [ChatMessage], partialAnswer: String) -> Prompt {
        Prompt(text: messages.map(\.content).joined(separator: "\n") + partialAnswer, addSpecialTokens: true)
    }

    /// Returns the prompt, which ends with the partial answer so that the model continues it, and the conversation, which
    /// records the messages that did not fit the context. Runs off the main actor: long chats take time to tokenize.
    static func make(
        _ conversation: Conversation, partialAnswer: String = "", _ opened: OpenedPackage
    ) async throws -> (Prompt, Conversation) {
        var conversation = conversation
        let written = partialAnswer.isEmpty ? 0 : opened.tokenizer.encode(partialAnswer, addSpecialTokens: false).count
        let context = opened.manifest.settings.context
        do {
            // The partial answer takes its share of the context, however long it is. The rest is for the messages and the
            // rest of the answer.
            let text = try conversation.prompt(tokenizer: opened.tokenizer, context: context - written)
            return (Prompt(text: text + partialAnswer, addSpecialTokens: false), conversation)
        } catch GenerationError.promptTooLong(let tokens, _) {
            throw GenerationError.promptTooLong(tokens: tokens + written, context: context)
        }
    }
}
