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

/// What is going on with the last answer, and what can be done about it.
struct StatusView: View {
    let chat: ChatModel

    var body: some View {
        VStack(alignment: .leading, spacing: 8) {
            switch chat.session.state {
            case .idle, .writing:
                EmptyView()
            case .reading(let done, let all):
                if let share = chat.runtime.loading {
                    ProgressView(value: share) { Text("Loading the model") }
                } else if all > 0 {
                    ProgressView(value: Double(done), total: Double(all)) { Text("Reading the prompt") }
                } else {
                    ProgressView { Text("Reading the prompt") }
                }
            case .interrupted(let why):
                reason(why)
                    .font(.callout)
                    .foregroundStyle(.secondary)
                if let problem = chat.problem {
                    Text(verbatim: problem).font(.callout).foregroundStyle(.red)
                }
                if chat.session.canContinue {
                    Button("Continue", systemImage: "play.fill") { chat.resume() }
                        .buttonStyle(.bordered)
                        .accessibilityHint(Text("Goes on with the answer where it broke off."))
                }
            }
        }
        .frame(maxWidth: .infinity, alignment: .leading)
    }

    private func reason(_ why: ChatSession.Interruption) -> Text {
        switch why {
        case .stopped: Text("Stopped.")
        case .background: Text("Paused while the app was not in front.")
        case .memory: Text("Memory was short: the answer was stopped and the model put away. Continuing loads it again.")
        case .context: Text("The context is full. Continuing leaves out the oldest messages.")
        case .full: Text("The context is full. Begin a new conversation.")
        case .length: Text("As long as the settings allow.")
        case .failed: Text("The answer failed.")
        }
    }
}
