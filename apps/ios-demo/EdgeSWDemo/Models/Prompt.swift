import EdgeSWKit

/// What the model is given for a conversation: the package's chat form filled in, or, where it has none, plain text.
struct Prompt {
    let text: String
    /// Whether the tokenizer still has to put BOS in front: chat forms bring their own.
    let bos: Bool
    /// Exchanges at the beginning that did not fit the context.
    let dropped: Int

    /// Ends with what stands of the answer already, so that the model goes on with it.
    init(_ session: ChatSession, _ settings: ChatSettings, _ opened: OpenedPackage) throws {
        let turns = session.asked.map { ChatMessage(role: $0.speaker == .user ? .user : .assistant, content: $0.text) }
        try self.init(turns, system: settings.system, answered: session.answered, opened)
    }

    /// A single question, without a system prompt.
    init(question: String, _ opened: OpenedPackage) throws {
        try self.init([ChatMessage(role: .user, content: question)], system: "", answered: "", opened)
    }

    private init(_ turns: [ChatMessage], system: String, answered: String, _ opened: OpenedPackage) throws {
        guard let form = opened.manifest.chat else {
            text = turns.map(\.content).joined(separator: "\n") + answered
            bos = true
            dropped = 0
            return
        }
        let system = system.isEmpty || !form.takesSystemMessage ? [] : [ChatMessage(role: .system, content: system)]
        text = try form.prompt(system + turns) + answered
        bos = false
        dropped = 0
    }
}
