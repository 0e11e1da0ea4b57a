import EdgeSWKit
import Observation

/// The same question answered with and without the super weights. Decoding is greedy, so that only the weights differ.
@MainActor @Observable
final class ProofModel {
    let chat: ChatModel
    /// The position of the switch. Flipping it answers the last question again.
    var isCorrected = true {
        didSet { if isCorrected != oldValue, !comparison.prompt.isEmpty { run(comparison.prompt) } }
    }
    private(set) var comparison = Comparison()
    private(set) var isRunning = false
    private(set) var problem: String?

    private var task: Task<Void, Never>?

    init(_ chat: ChatModel) {
        self.chat = chat
    }

    var runtime: ModelRuntime { chat.runtime }
    var opened: OpenedPackage { chat.runtime.opened }
    var hasSwitch: Bool { opened.manifest.coreMLOptions?.hasAblation ?? false }

    /// The last question in the chat, as the first one here.
    var lastQuestion: String { chat.session.turns.last { $0.speaker == .user }?.text ?? "" }

    /// Answers a question with the functions that the switch selects.
    func ask(_ text: String) {
        guard hasSwitch, !text.isEmpty else { return }
        run(text)
    }

    func stop() {
        task?.cancel()
        isRunning = false
    }

    private func run(_ text: String) {
        task?.cancel()
        let previous = task, corrected = isCorrected
        isRunning = true
        problem = nil
        comparison.begin(text, corrected: corrected)
        task = Task {
            await previous?.value
            await chat.stopGenerating()
            await answer(text, corrected)
            if !Task.isCancelled { isRunning = false }
        }
    }

    private func prompt(_ text: String) async throws -> Prompt {
        let question = ChatMessage(role: .user, content: text)
        guard let format = opened.manifest.chatFormat else { return .plain([question], partialAnswer: "") }
        var conversation = Conversation(format: format)
        conversation.messages = [question]
        return try await Prompt.make(conversation, opened).0
    }

    private func answer(_ text: String, _ corrected: Bool) async {
        do {
            let generator = try await runtime.generator(corrected: corrected)
            let prompt = try await prompt(text)
            let options = GenerationOptions(maximumTokens: 80, sampling: SamplingOptions(temperature: 0))
            for try await event in await generator.generate(prompt: prompt.text, addSpecialTokens: prompt.addSpecialTokens, options: options) {
                if Task.isCancelled { return }
                if case .text(let piece) = event { comparison.receive(piece, corrected: corrected) }
            }
            if !Task.isCancelled { comparison.finish(corrected: corrected) }
        } catch {
            guard !Task.isCancelled else { return }
            // This task was not cancelled, but the load was, to free memory.
            problem = error is CancellationError
                ? String(localized: "Memory ran low: the answer was stopped.") : error.localizedDescription
        }
    }
}
