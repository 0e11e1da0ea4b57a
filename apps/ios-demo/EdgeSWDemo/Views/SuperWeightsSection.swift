import EdgeSWKit
import SwiftUI

/// The super weights, which are held out of the compressed matrices.
struct SuperWeightsSection: View {
    let manifest: Manifest

    private static let limit = 50

    var body: some View {
        Section {
            ForEach(Array(manifest.superWeights.prefix(Self.limit).enumerated()), id: \.offset) { _, weight in
                LabeledContent {
                    Text(verbatim: weight.value.formatted(.number.precision(.significantDigits(4)))).monospacedDigit()
                } label: {
                    Text("Layer \(weight.layer.formatted())")
                    Text("Row \(weight.row.formatted()), column \(weight.column.formatted())")
                }
                .accessibilityElement(children: .combine)
            }
            if manifest.superWeights.count > Self.limit {
                Text("And \((manifest.superWeights.count - Self.limit).formatted()) more")
            }
            if manifest.superWeights.isEmpty { Text("None") }
            LabeledContent("Columns held out") { Text(verbatim: columns.formatted()) }
            LabeledContent("Size of the correction") { Text(verbatim: bytesText(manifest.correctionBytes)) }
        } header: {
            Text("Super weights")
        } footer: {
            Text("Single weights of mlp.down_proj without which the model breaks. They are held out: kept out of the compressed matrices in float16, and added back as a sparse correction.")
        }
    }

    private var columns: Int { manifest.heldOutColumns.values.reduce(0) { $0 + $1.count } }
}
