@preconcurrency import Accessibility
import EdgeSWKit
import SwiftUI
import UIKit

/// The conversation.
struct ChatView: View {
    let chat: ChatModel

    @Environment(AppModel.self) private var app
    @State private var isSetting = false
    @State private var isProving = false

    var body: some View {
        NavigationStack {
            ScrollViewReader { scroll in
                ScrollView {
                    LazyVStack(alignment: .leading, spacing: 16) {
                        if chat.session.turns.isEmpty { Greeting(chat: chat) }
                        if chat.session.forgotten > 0 {
                            Text("Messages left out for lack of context: \(chat.session.forgotten.formatted())")
                                .font(.footnote)
                                .foregroundStyle(.secondary)
                        }
                        ForEach(chat.session.turns) { TurnView(turn: $0).id($0.id) }
                        StatusView(chat: chat)
                        Color.clear.frame(height: 1).id(Self.end).accessibilityHidden(true)
                    }
                    .padding()
                }
                .defaultScrollAnchor(.bottom)
                .scrollDismissesKeyboard(.interactively)
                .onChange(of: chat.session.turns.count) { scroll.scrollTo(Self.end, anchor: .bottom) }
            }
            .safeAreaInset(edge: .bottom) {
                VStack(spacing: 8) {
                    ReadingsBar(speed: chat.speed, reading: app.device.reading)
                    Composer(chat: chat)
                }
                .padding()
                .background(.bar)
            }
            .navigationTitle(Text(verbatim: chat.runtime.opened.place.name))
            .navigationBarTitleDisplayMode(.inline)
            .toolbar { tools }
            .sheet(isPresented: $isSetting) { SettingsSheet(chat: chat) }
            .sheet(isPresented: $isProving) { ProofView(chat: chat) }
        }
        .onAppear { chat.speak = announce }
    }

    private static let end = "end"

    @ToolbarContentBuilder private var tools: some ToolbarContent {
        ToolbarItem(placement: .topBarLeading) {
            Button("Packages", systemImage: "shippingbox") { app.choose() }
        }
        ToolbarItemGroup(placement: .topBarTrailing) {
            Button("Proof", systemImage: "checkmark.seal") { isProving = true }
                .accessibilityHint(Text("Shows what was measured, and the model without its super weights."))
            Menu("More", systemImage: "ellipsis.circle") {
                Button("Settings", systemImage: "slider.horizontal.3") { isSetting = true }
                Button("Regenerate", systemImage: "arrow.clockwise") { chat.regenerate() }
                    .disabled(!chat.session.canRegenerate)
                Button("New conversation", systemImage: "square.and.pencil") { chat.startAnew() }
            }
        }
    }
}

/// Speaks a piece of the answer once what is being spoken is over.
@MainActor
private func announce(_ text: String) {
    guard UIAccessibility.isVoiceOverRunning else { return }
    var announcement = AttributedString(text)
    announcement.accessibilitySpeechAnnouncementPriority = .low
    AccessibilityNotification.Announcement(announcement).post()
}

/// What an empty conversation says.
private struct Greeting: View {
    let chat: ChatModel

    var body: some View {
        ContentUnavailableView {
            Label("Ask something", systemImage: "bubble.left.and.text.bubble.right")
        } description: {
            if chat.hasChatForm {
                Text("The model answers on this device; nothing leaves it.")
            } else {
                Text("This package has no chat form: the model continues your text.")
            }
        }
    }
}
