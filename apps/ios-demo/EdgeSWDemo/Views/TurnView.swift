import EdgeSWKit
import SwiftUI

/// One question or answer.
struct TurnView: View {
    let turn: ChatSession.Turn

    var body: some View {
        Text(verbatim: turn.text)
            .textSelection(.enabled)
            .padding(turn.speaker == .user ? 12 : 0)
            .background(turn.speaker == .user ? Color.accentColor.opacity(0.15) : Color.clear, in: .rect(cornerRadius: 16))
            .frame(maxWidth: .infinity, alignment: turn.speaker == .user ? .trailing : .leading)
            .accessibilityElement()
            .accessibilityLabel(speaker)
            .accessibilityValue(Text(verbatim: turn.text))
    }

    private var speaker: Text {
        switch turn.speaker {
        case .user: Text("You")
        case .assistant: Text("Model")
        }
    }
}

/// The state of the last answer, and what the user can do about it.
struct StatusView: View {
    let chat: ChatModel

    var body: some View {
        VStack(alignment: .leading, spacing: 8) {
            switch chat.session.state {
            case .idle, .writing:
                EmptyView()
            case .reading(let done, let all):
                if let fraction = chat.runtime.loading {
                    ProgressView(value: fraction) { Text("Loading the model") }
                } else if all > 0 {
                    ProgressView(value: Double(done), total: Double(all)) { Text("Reading the prompt") }
                } else {
                    ProgressView { Text("Reading the prompt") }
                }
            case .interrupted(let interruption):
                reason(interruption)
                    .font(.callout)
                    .foregroundStyle(.secondary)
                if let problem = chat.problem {
                    Text(verbatim: problem).font(.callout).foregroundStyle(.red)
                }
                if chat.session.canContinue {
                    Button("Continue", systemImage: "play.fill") { chat.resume() }
                        .buttonStyle(.bordered)
                        .accessibilityHint(Text("Continues the answer where it stopped."))
                }
            }
        }
        .frame(maxWidth: .infinity, alignment: .leading)
    }

    private func reason(_ interruption: ChatSession.Interruption) -> Text {
        switch interruption {
        case .stopped: Text("Stopped.")
        case .background: Text("Stopped when the app went to the background.")
        case .memory: Text("Memory ran low: the answer was stopped and the model was unloaded. Continue loads it again.")
        case .context: Text("The context is full. Continue leaves out the oldest messages.")
        case .full: Text("The context is full. Start a new conversation.")
        case .length: Text("The answer reached the maximum length in the settings.")
        case .failed: Text("The answer failed.")
        }
    }
}
