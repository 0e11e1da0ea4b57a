import EdgeSWKit

/// What the model is given for a conversation: the package's chat form filled in, or, where it has none, plain text.
struct Prompt: Sendable {
    let text: String
    /// Whether the tokenizer still has to put BOS in front: chat forms bring their own.
    let bos: Bool

    /// For a package without a chat form: it goes on with what was written.
    static func plain(_ messages: [ChatMessage], answered: String) -> Prompt {
        Prompt(text: messages.map(\.content).joined(separator: "\n") + answered, bos: true)
    }

    /// Ends with what stands of the answer already, so that the model goes on with it. Gives the conversation back, which
    /// remembers what it dropped for lack of context. Off the main actor: long chats take a while to tokenize.
    static func of(
        _ conversation: Conversation, answered: String = "", _ opened: OpenedPackage
    ) async throws -> (Prompt, Conversation) {
        var conversation = conversation
        let stands = answered.isEmpty ? 0 : opened.tokenizer.encode(answered, bos: false).count
        let context = opened.manifest.settings.context
        do {
            // What stands takes its part of the context, however long it is: the rest is for messages and what follows.
            let text = try conversation.prompt(tokenizer: opened.tokenizer, context: context - stands)
            return (Prompt(text: text + answered, bos: false), conversation)
        } catch GenerationError.promptTooLong(let tokens, _) {
            throw GenerationError.promptTooLong(tokens: tokens + stands, context: context)
        }
    }
}
