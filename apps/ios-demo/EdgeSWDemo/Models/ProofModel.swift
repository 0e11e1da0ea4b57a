import EdgeSWKit
import Observation

/// The same question with and without the super weights: greedy, so that nothing but the weights differs.
@MainActor @Observable
final class ProofModel {
    let chat: ChatModel
    /// The position of the switch. Where something was asked, a throw answers it again.
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
    var hasSwitch: Bool { opened.manifest.settings.ablation }

    /// What was asked in the chat last: the question to begin with.
    var lastQuestion: String { chat.session.turns.last { $0.speaker == .user }?.text ?? "" }

    /// Answers with the functions that the switch stands at.
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
            await chat.settle()
            await answer(text, corrected)
            if !Task.isCancelled { isRunning = false }
        }
    }

    private func prompt(_ text: String) async throws -> Prompt {
        let question = ChatMessage(role: .user, content: text)
        guard let form = opened.manifest.chat else { return .plain([question], answered: "") }
        var conversation = Conversation(form: form)
        conversation.messages = [question]
        return try await Prompt.of(conversation, opened).0
    }

    private func answer(_ text: String, _ corrected: Bool) async {
        do {
            let generator = try await runtime.generator(corrected: corrected)
            let prompt = try await prompt(text)
            let options = GenerationOptions(maximumTokens: 80, sampling: SamplingOptions(temperature: 0))
            for try await event in await generator.generate(prompt: prompt.text, bos: prompt.bos, options: options) {
                if Task.isCancelled { return }
                if case .text(let piece) = event { comparison.receive(piece, corrected: corrected) }
            }
            if !Task.isCancelled { comparison.finish(corrected: corrected) }
        } catch {
            guard !Task.isCancelled else { return }
            // Not cancelled itself: the load was, to give memory back.
            problem = error is CancellationError
                ? String(localized: "Memory was short: the answer was stopped.") : error.localizedDescription
        }
    }
}
