import EdgeSWKit
import SwiftUI

/// The measurements that `edgesw validate --record` wrote into the package.
struct FiguresSection: View {
    let validation: Validation?

    var body: some View {
        Section {
            if let validation, let figures = validation.targets["coreml"] {
                row("Perplexity", figures.perplexity.formatted(.number.precision(.fractionLength(3))))
                row("Perplexity of the float model", figures.floatPerplexity.formatted(.number.precision(.fractionLength(3))))
                row("KL divergence, nats", figures.klDivergence.formatted(.number.precision(.fractionLength(4))))
                row("Top-1 agreement", figures.top1Agreement.formatted(.percent.precision(.fractionLength(1))))
                row("Runtime", figures.runtime)
                if let without = validation.uncorrected["coreml"] {
                    row("Perplexity without the correction", without.perplexity.formatted(.number.precision(.fractionLength(1))))
                }
            } else {
                Text("No measurements were recorded. On your computer, run: edgesw validate PACKAGE --record")
            }
        } header: {
            Text("Validation")
        } footer: {
            if let validation {
                Text("On \(validation.windows.formatted()) windows of \(validation.tokensPerWindow.formatted()) tokens: \(validation.text)")
            }
        }
    }

    private func row(_ name: LocalizedStringKey, _ value: String) -> some View {
        LabeledContent(name) { Text(verbatim: value).monospacedDigit() }
    }
}
