import EdgeSWKit
import SwiftUI
import UIKit

/// The evidence for the package: the measurements, the super weights, and the model with and without them.
struct ProofView: View {
    @State private var proof: ProofModel

    @Environment(\.dismiss) private var dismiss
    @Environment(\.scenePhase) private var phase

    init(chat: ChatModel) {
        _proof = State(initialValue: ProofModel(chat))
    }

    var body: some View {
        NavigationStack {
            List {
                ComparisonSection(proof: proof)
                SuperWeightsSection(manifest: proof.opened.manifest)
                FiguresSection(validation: proof.opened.validation)
            }
            .navigationTitle(Text("Proof"))
            .navigationBarTitleDisplayMode(.inline)
            .toolbar {
                ToolbarItem(placement: .confirmationAction) { Button("Done") { dismiss() } }
            }
        }
        .onDisappear { proof.stop() }
        .onChange(of: phase) { _, phase in
            if phase == .background { proof.stop() }
        }
        .onReceive(NotificationCenter.default.publisher(for: UIApplication.didReceiveMemoryWarningNotification)) { _ in
            proof.stop()
        }
    }
}
