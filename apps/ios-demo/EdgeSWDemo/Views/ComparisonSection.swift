import EdgeSWKit
import SwiftUI

/// The switch between the functions with and without the correction, and their answers to the same question.
struct ComparisonSection: View {
    @Bindable var proof: ProofModel

    @State private var question = ""

    var body: some View {
        if proof.hasSwitch {
            Section {
                Toggle("Add the super weights back", isOn: $proof.isCorrected)
                    .accessibilityHint(Text("Loads the other functions of the package and answers again."))
                HStack {
                    TextField("Question", text: $question)
                        .onSubmit(ask)
                    Button("Ask", action: ask)
                        .disabled(question.isEmpty || proof.isRunning)
                }
                if let fraction = proof.runtime.loading {
                    ProgressView(value: fraction) { Text("Loading the other functions") }
                }
                answer(corrected: true, title: Text("With the correction"))
                answer(corrected: false, title: Text("Without the correction"))
                if let problem = proof.problem { Text(verbatim: problem).foregroundStyle(.red) }
            } header: {
                Text("With and without")
            } footer: {
                if let same = proof.comparison.agreement {
                    Text("Identical characters at the beginning: \(same.formatted())")
                } else {
                    Text("Ask a question, then flip the switch: everything else stays the same, and the most likely token is always chosen.")
                }
            }
            .onAppear { if question.isEmpty { question = proof.lastQuestion } }
        } else {
            Section {
                Text("This package has no functions without the correction. To compare, convert the model with: edgesw convert MODEL --target coreml --ablation")
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
