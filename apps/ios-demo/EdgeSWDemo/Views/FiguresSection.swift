import EdgeSWKit
import SwiftUI

/// What `edgesw validate --record` measured and wrote into the package.
struct FiguresSection: View {
    let validation: Validation?

    var body: some View {
        Section {
            if let validation, let figures = validation.targets["coreml"] {
                row("Perplexity", figures.perplexity.formatted(.number.precision(.fractionLength(3))))
                row("The float model's", figures.floatPerplexity.formatted(.number.precision(.fractionLength(3))))
                row("KL divergence, nats", figures.klDivergence.formatted(.number.precision(.fractionLength(4))))
                row("Same first choice", figures.top1Agreement.formatted(.percent.precision(.fractionLength(1))))
                row("Run by", figures.runtime)
                if let without = validation.uncorrected["coreml"] {
                    row("Perplexity without the correction", without.perplexity.formatted(.number.precision(.fractionLength(1))))
                }
            } else {
                Text("Nothing was recorded. On the computer: edgesw validate PACKAGE --record")
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
