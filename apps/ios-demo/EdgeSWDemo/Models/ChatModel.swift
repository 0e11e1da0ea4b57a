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

    /// Receives sentences of the answer for VoiceOver.
    var speak: @MainActor @Sendable (String) -> Void = { _ in }

    private let store: ConversationStore
    private var conversation: Conversation?
    private var task: Task<Void, Never>?
    private var spoken = SpokenText()

    init(_ runtime: ModelRuntime) {
        self.runtime = runtime
        store = ConversationStore(runtime.opened.location)
        if let content = store.load() {
            session = content.session
            settings = content.settings
        }
        conversation = runtime.opened.manifest.chatFormat.map { Conversation(format: $0, dropped: session.dropped) }
    }

    var hasChatFormat: Bool { runtime.opened.manifest.chatFormat != nil }
    var takesSystemPrompt: Bool { runtime.opened.manifest.chatFormat?.takesSystemMessage ?? false }

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

    func startNewConversation() {
        interrupt(.stopped)
        session = ChatSession()
        conversation = conversation.map { Conversation(format: $0.format) }
        speed = Speed()
        problem = nil
        save()
    }

    /// Stops the answer that is being generated. It can be continued.
    func interrupt(_ reason: ChatSession.Interruption) {
        task?.cancel()
        session.interrupt(reason)
        save()
    }

    /// Called before the system ends apps for lack of memory: stops the answer and releases the model's memory.
    func memoryWarning() {
        interrupt(.memory)
        runtime.release()
    }

    /// Stops the answer and returns when the engine is idle, so that another part of the app can use it.
    func stopGenerating() async {
        interrupt(.stopped)
        await task?.value
        await runtime.stop()
    }

    /// Releases the engine's memory once nothing uses it. The conversation must have been interrupted.
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
        // A cancelled task may outlive its conversation. So cancellation is checked after each await, before any change.
        do {
            try Task.checkCancellation()
            let generator = try await runtime.generator(corrected: true)
            try Task.checkCancellation()
            speed.begin()
            let prompt = try await prompt()
            let options = GenerationOptions(maximumTokens: settings.maximumTokens, sampling: settings.sampling)
            for try await event in await generator.generate(prompt: prompt.text, addSpecialTokens: prompt.addSpecialTokens, options: options) {
                if Task.isCancelled { return }
                handle(event)
            }
        } catch {
            // The reason of a cancellation is already recorded.
            guard !Task.isCancelled else { return }
            if case GenerationError.promptTooLong = error { session.interrupt(.full) } else { session.interrupt(.failed) }
            problem = error.localizedDescription
        }
        if !Task.isCancelled { save() }
    }

    private func prompt() async throws -> Prompt {
        let messages = session.promptTurns.map { ChatMessage(role: $0.speaker == .user ? .user : .assistant, content: $0.text) }
        guard var current = conversation else { return .plain(messages, partialAnswer: session.partialAnswer) }
        let system = settings.system.trimmingCharacters(in: .whitespacesAndNewlines)
        current.messages = messages
        current.system = system.isEmpty || !takesSystemPrompt ? nil : system
        let (prompt, updated) = try await Prompt.make(current, partialAnswer: session.partialAnswer, runtime.opened)
        try Task.checkCancellation()
        conversation = updated
        session.dropped = updated.dropped
        return prompt
    }

    private func handle(_ event: GenerationEvent) {
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
            case .contextFull: session.fillContext(dropsOldest: hasChatFormat)
            case .cancelled: session.interrupt(.stopped)
            }
        }
    }

    private func save() {
        store.save(.init(session: session, settings: settings))
    }
}
