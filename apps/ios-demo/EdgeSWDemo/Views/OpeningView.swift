import SwiftUI

/// The progress of opening a package.
struct OpeningView: View {
    let title: Text
    let detail: Text
    /// From 0 to 1; nil while it is unknown.
    let fraction: Double?
    var isTight = false

    @Environment(AppModel.self) private var app

    var body: some View {
        VStack(spacing: 16) {
            ProgressView(value: fraction) { title.font(.headline) }
                .frame(maxWidth: 420)
            detail
                .font(.callout)
                .foregroundStyle(.secondary)
            if isTight {
                Label(
                    "This model may be too large for the available memory. If the system ends the app, use fewer bits or a smaller model.",
                    systemImage: "exclamationmark.triangle"
                )
                .font(.callout)
                .foregroundStyle(.orange)
            }
            Button("Cancel", role: .cancel) { app.choose() }
        }
        .multilineTextAlignment(.center)
        .padding()
    }
}
