import EdgeSWKit
import SwiftUI

/// The settings of a conversation: system prompt, sampling and answer length.
struct SettingsSheet: View {
    @Bindable var chat: ChatModel

    @Environment(\.dismiss) private var dismiss

    var body: some View {
        NavigationStack {
            Form {
                Section {
                    TextField("None", text: $chat.settings.system, axis: .vertical)
                        .lineLimit(2...8)
                        .disabled(!chat.takesSystemPrompt)
                        .accessibilityLabel(Text("System prompt"))
                } header: {
                    Text("System prompt")
                } footer: {
                    if chat.takesSystemPrompt {
                        Text("Applies from the next answer on.")
                    } else {
                        Text("This model does not support a system prompt.")
                    }
                }
                Section {
                    Amount("Temperature", value: $chat.settings.sampling.temperature, in: 0...2)
                } header: {
                    Text("Sampling")
                } footer: {
                    Text("At 0, the most likely token is always chosen, and the options below have no effect.")
                }
                Section {
                    Limit("Top-p", value: $chat.settings.sampling.topP, start: 0.9, in: 0.05...1)
                    Limit("Min-p", value: $chat.settings.sampling.minP, start: 0.05, in: 0...0.5)
                    Limit("Repetition penalty", value: $chat.settings.sampling.repetitionPenalty, start: 1.1, in: 1...2)
                    Toggle("Top-k", isOn: isSet($chat.settings.sampling.topK, start: 40))
                    if let topK = chat.settings.sampling.topK {
                        Stepper(value: unwrapped($chat.settings.sampling.topK, or: topK), in: 1...1000) {
                            Text(verbatim: topK.formatted())
                        }
                        .accessibilityLabel(Text("Top-k"))
                    }
                    Toggle("Fixed seed", isOn: isSet($chat.settings.sampling.seed, start: 1))
                }
                Section {
                    Stepper(value: $chat.settings.maximumTokens, in: 32...4096, step: 32) {
                        Text("At most \(chat.settings.maximumTokens.formatted()) tokens")
                    }
                } header: {
                    Text("Answer length")
                }
            }
            .navigationTitle(Text("Settings"))
            .navigationBarTitleDisplayMode(.inline)
            .toolbar {
                ToolbarItem(placement: .confirmationAction) { Button("Done") { dismiss() } }
                ToolbarItem(placement: .cancellationAction) {
                    Button("Defaults") { chat.settings = ChatSettings() }
                }
            }
        }
    }
}

/// A binding to whether an optional value is set.
@MainActor
private func isSet<Value: Sendable>(_ value: Binding<Value?>, start: Value) -> Binding<Bool> {
    Binding(get: { value.wrappedValue != nil }, set: { value.wrappedValue = $0 ? start : nil })
}

/// A binding to an optional value with a fallback. SwiftUI's own unwrapping crashes when a view reads the value once more
/// after it was removed.
@MainActor
private func unwrapped<Value: Sendable>(_ value: Binding<Value?>, or fallback: Value) -> Binding<Value> {
    Binding(get: { value.wrappedValue ?? fallback }, set: { value.wrappedValue = $0 })
}

/// A slider with its name and value.
private struct Amount: View {
    private let name: LocalizedStringKey
    @Binding private var value: Double
    private let range: ClosedRange<Double>

    init(_ name: LocalizedStringKey, value: Binding<Double>, in range: ClosedRange<Double>) {
        self.name = name
        _value = value
        self.range = range
    }

    var body: some View {
        VStack(alignment: .leading) {
            LabeledContent(name) { Text(verbatim: shown).monospacedDigit() }
                .accessibilityHidden(true)
            Slider(value: $value, in: range, step: 0.05) { Text(name) }
                .accessibilityValue(Text(verbatim: shown))
        }
    }

    private var shown: String { value.formatted(.number.precision(.fractionLength(2))) }
}

/// A slider for an optional value, with a switch.
private struct Limit: View {
    private let name: LocalizedStringKey
    @Binding private var value: Double?
    private let start: Double
    private let range: ClosedRange<Double>

    init(_ name: LocalizedStringKey, value: Binding<Double?>, start: Double, in range: ClosedRange<Double>) {
        self.name = name
        _value = value
        self.start = start
        self.range = range
    }

    var body: some View {
        Toggle(name, isOn: isSet($value, start: start))
        if value != nil { Amount(name, value: unwrapped($value, or: start), in: range) }
    }
}
