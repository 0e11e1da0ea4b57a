@preconcurrency import Accessibility
import EdgeSWKit
import SwiftUI
import UIKit

/// The conversation.
struct ChatView: View {
    let chat: ChatModel

    @Environment(AppModel.self) private var app
    @State private var isShowingSettings = false
    @State private var isShowingProof = false

    var body: some View {
        NavigationStack {
            ScrollViewReader { scroll in
                ScrollView {
                    LazyVStack(alignment: .leading, spacing: 16) {
                        if chat.session.turns.isEmpty { Greeting(chat: chat) }
                        if chat.session.dropped > 0 {
                            Text("Oldest messages left out because the context is full: \(chat.session.dropped.formatted())")
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
            .navigationTitle(Text(verbatim: chat.runtime.opened.location.name))
            .navigationBarTitleDisplayMode(.inline)
            .toolbar { tools }
            .sheet(isPresented: $isShowingSettings) { SettingsSheet(chat: chat) }
            .sheet(isPresented: $isShowingProof) { ProofView(chat: chat) }
        }
        .onAppear { chat.speak = announce }
    }

    private static let end = "end"

    @ToolbarContentBuilder private var tools: some ToolbarContent {
        ToolbarItem(placement: .topBarLeading) {
            Button("Packages", systemImage: "shippingbox") { app.choose() }
        }
        ToolbarItemGroup(placement: .topBarTrailing) {
            Button("Proof", systemImage: "checkmark.seal") { isShowingProof = true }
                .accessibilityHint(Text("Shows the measurements, and the model without its super weights."))
            Menu("More", systemImage: "ellipsis.circle") {
                Button("Settings", systemImage: "slider.horizontal.3") { isShowingSettings = true }
                Button("Regenerate", systemImage: "arrow.clockwise") { chat.regenerate() }
                    .disabled(!chat.session.canRegenerate)
                Button("New conversation", systemImage: "square.and.pencil") { chat.startNewConversation() }
            }
        }
    }
}

/// Speaks a sentence after those that are being spoken.
@MainActor
private func announce(_ text: String) {
    guard UIAccessibility.isVoiceOverRunning else { return }
    var announcement = AttributedString(text)
    announcement.accessibilitySpeechAnnouncementPriority = .low
    AccessibilityNotification.Announcement(announcement).post()
}

/// The text of an empty conversation.
private struct Greeting: View {
    let chat: ChatModel

    var body: some View {
        ContentUnavailableView {
            Label("Ask something", systemImage: "bubble.left.and.text.bubble.right")
        } description: {
            if chat.hasChatFormat {
                Text("The model answers on this device; nothing leaves it.")
            } else {
                Text("This package has no chat format: the model continues your text.")
            }
        }
    }
}
