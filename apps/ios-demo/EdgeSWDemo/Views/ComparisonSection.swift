import EdgeSWKit
import SwiftUI

/// The switch: the same weights, with the super weights put back or left rounded, answer the same question.
struct ComparisonSection: View {
    @Bindable var proof: ProofModel

    @State private var question = ""

    var body: some View {
        if proof.hasSwitch {
            Section {
                Toggle("Super weights put back", isOn: $proof.isCorrected)
                    .accessibilityHint(Text("Loads the other functions of the package and answers again."))
                HStack {
                    TextField("Question", text: $question)
                        .onSubmit(ask)
                    Button("Ask", action: ask)
                        .disabled(question.isEmpty || proof.isRunning)
                }
                if let share = proof.runtime.loading {
                    ProgressView(value: share) { Text("Loading the other functions") }
                }
                answer(corrected: true, title: Text("With the correction"))
                answer(corrected: false, title: Text("Without the correction"))
                if let problem = proof.problem { Text(verbatim: problem).foregroundStyle(.red) }
            } header: {
                Text("With and without")
            } footer: {
                if let same = proof.comparison.agreement {
                    Text("Characters that both begin with: \(same.formatted())")
                } else {
                    Text("Ask, then throw the switch: everything else stays the same, and the likeliest token is always taken.")
                }
            }
            .onAppear { if question.isEmpty { question = proof.lastQuestion } }
        } else {
            Section {
                Text("This package has one set of functions. To see the model without its super weights, convert it with a second set: edgesw convert MODEL --target coreml --ablation")
            } header: {
                Text("With and without")
            }
        }
    }

    private func ask() {
        proof.ask(question)
    }

    @ViewBuilder private func answer(corrected: Bool, title: Text) -> some View {
        if let answer = proof.comparison[corrected] {
            VStack(alignment: .leading, spacing: 4) {
                title.font(.subheadline.bold())
                    .foregroundStyle(corrected ? AnyShapeStyle(.green) : AnyShapeStyle(.red))
                Text(verbatim: answer.text)
                    .textSelection(.enabled)
                if !answer.isComplete, !proof.isRunning { Text("Stopped.").font(.footnote).foregroundStyle(.secondary) }
            }
            .accessibilityElement(children: .combine)
        }
    }
}
