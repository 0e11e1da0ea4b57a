import SwiftUI

/// The text field for questions, with the buttons to send and to stop.
struct Composer: View {
    let chat: ChatModel

    @State private var text = ""
    @FocusState private var isFocused: Bool

    var body: some View {
        HStack(alignment: .bottom) {
            TextField("Message", text: $text, axis: .vertical)
                .lineLimit(1...6)
                .textFieldStyle(.roundedBorder)
                .focused($isFocused)
                .onSubmit(send)
            if chat.session.isRunning {
                Button("Stop", systemImage: "stop.circle.fill") { chat.interrupt(.stopped) }
                    .keyboardShortcut(".", modifiers: .command)
            } else {
                Button("Send", systemImage: "arrow.up.circle.fill", action: send)
                    .keyboardShortcut(.return, modifiers: .command)
                    .disabled(text.trimmingCharacters(in: .whitespacesAndNewlines).isEmpty)
            }
        }
        .labelStyle(.iconOnly)
        .imageScale(.large)
    }

    private func send() {
        if chat.send(text) { text = "" }
    }
}
