import EdgeSWKit
import SwiftUI

/// The scalars that are held out of the compressed matrices.
struct SuperWeightsSection: View {
    let manifest: Manifest

    private static let most = 50

    var body: some View {
        Section {
            ForEach(Array(manifest.heldOut.prefix(Self.most).enumerated()), id: \.offset) { _, scalar in
                LabeledContent {
                    Text(verbatim: scalar.value.formatted(.number.precision(.significantDigits(4)))).monospacedDigit()
                } label: {
                    Text("Layer \(scalar.layer.formatted())")
                    Text("Row \(scalar.row.formatted()), column \(scalar.column.formatted())")
                }
                .accessibilityElement(children: .combine)
            }
            if manifest.heldOut.count > Self.most {
                Text("And \((manifest.heldOut.count - Self.most).formatted()) more")
            }
            if manifest.heldOut.isEmpty { Text("None") }
            LabeledContent("Whole columns") { Text(verbatim: columns.formatted()) }
            LabeledContent("They take") { Text(verbatim: bytesText(manifest.correctionBytes)) }
        } header: {
            Text("Super weights")
        } footer: {
            Text("Single scalars of mlp.down_proj without which the model falls apart. They are held out of the compressed matrices and added back in float16.")
        }
    }

    private var columns: Int { manifest.heldOutColumns.values.reduce(0) { $0 + $1.count } }
}
