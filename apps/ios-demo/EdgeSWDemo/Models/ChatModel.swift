import EdgeSWKit
import Foundation
import Observation

/// A conversation with one package.
@MainActor @Observable
final class ChatModel {
    let runtime: ModelRuntime
    private(set) var session = ChatSession()
    private(set) var speed = Speed()
    /// Why the last answer failed.
    private(set) var problem: String?
    var settings = ChatSettings() { didSet { if settings != oldValue { save() } } }

    /// Pieces of the answer for VoiceOver.
    var speak: @MainActor @Sendable (String) -> Void = { _ in }

    private let store: ConversationStore
    private var conversation: Conversation?
    private var task: Task<Void, Never>?
    private var spoken = SpokenText()

    init(_ runtime: ModelRuntime) {
        self.runtime = runtime
        store = ConversationStore(runtime.opened.place)
        if let content = store.load() {
            session = content.session
            settings = content.settings
        }
        conversation = runtime.opened.manifest.chat.map { Conversation(form: $0, dropped: session.forgotten) }
    }

    var hasChatForm: Bool { runtime.opened.manifest.chat != nil }
    var takesSystemPrompt: Bool { runtime.opened.manifest.chat?.takesSystemMessage ?? false }

    func send(_ text: String) -> Bool {
        let begun = session.send(text)
        if begun { answer() }
        return begun
    }

    func regenerate() {
        if session.regenerate() { answer() }
    }

    func resume() {
        if session.resume() { answer() }
    }

    func startAnew() {
        interrupt(.stopped)
        session = ChatSession()
        conversation = conversation.map { Conversation(form: $0.form) }
        speed = Speed()
        problem = nil
        save()
    }

    /// Ends the answer that is being written; it can be taken up again.
    func interrupt(_ why: ChatSession.Interruption) {
        task?.cancel()
        session.interrupt(why)
        save()
    }

    /// The system is about to end apps: the answer stops and the model's memory is given back.
    func memoryWarning() {
        interrupt(.memory)
        runtime.release()
    }

    /// Waits until nothing is generated any more, so that another part of the app can take the engine.
    func settle() async {
        interrupt(.stopped)
        await task?.value
        await runtime.stop()
    }

    /// Gives the engine's memory back once nothing uses it; for a conversation that was interrupted and is left.
    func close() async {
        await task?.value
        await runtime.close()
    }

    private func answer() {
        problem = nil
        speed = Speed()
        spoken = SpokenText()
        save()
        let previous = task
        task = Task {
            await previous?.value  // one generation at a time
            await generate()
        }
    }

    private func generate() async {
        // A cancelled task may outlive its conversation: after each wait, before anything is written.
        do {
            try Task.checkCancellation()
            let generator = try await runtime.generator(corrected: true)
            try Task.checkCancellation()
            speed.begin()
            let prompt = try await prompt()
            let options = GenerationOptions(maximumTokens: settings.maximumTokens, sampling: settings.sampling)
            for try await event in await generator.generate(prompt: prompt.text, bos: prompt.bos, options: options) {
                if Task.isCancelled { return }
                take(event)
            }
        } catch {
            // Whoever cancelled has said why.
            guard !Task.isCancelled else { return }
            if case GenerationError.promptTooLong = error { session.interrupt(.full) } else { session.interrupt(.failed) }
            problem = error.localizedDescription
        }
        if !Task.isCancelled { save() }
    }

    private func prompt() async throws -> Prompt {
        let messages = session.asked.map { ChatMessage(role: $0.speaker == .user ? .user : .assistant, content: $0.text) }
        guard var asked = conversation else { return .plain(messages, answered: session.answered) }
        let system = settings.system.trimmingCharacters(in: .whitespacesAndNewlines)
        asked.messages = messages
        asked.system = system.isEmpty || !takesSystemPrompt ? nil : system
        let (prompt, after) = try await Prompt.of(asked, answered: session.answered, runtime.opened)
        try Task.checkCancellation()
        conversation = after
        session.forgotten = after.dropped
        return prompt
    }

    private func take(_ event: GenerationEvent) {
        switch event {
        case .promptProgress(let done, let all):
            session.read(done, of: all)
        case .text(let text):
            speed.token()
            session.receive(text)
            if let piece = spoken.push(text) { speak(piece) }
        case .finished(let reason, let metrics):
            speed.finish(metrics)
            if let piece = spoken.end() { speak(piece) }
            switch reason {
            case .endOfText, .stopSequence: session.finish()
            case .maximumTokens: session.interrupt(.length)
            case .contextFull: session.fillContext(dropsOldest: hasChatForm)
            case .cancelled: session.interrupt(.stopped)
            }
        }
    }

    private func save() {
        store.save(.init(session: session, settings: settings))
    }
}
