import SwiftUI

/// A package on its way to the first question.
struct OpeningView: View {
    let title: Text
    let detail: Text
    /// From 0 to 1; nil while nobody knows.
    let share: Double?
    var isTight = false

    @Environment(AppModel.self) private var app

    var body: some View {
        VStack(spacing: 16) {
            ProgressView(value: share) { title.font(.headline) }
                .frame(maxWidth: 420)
            detail
                .font(.callout)
                .foregroundStyle(.secondary)
            if isTight {
                Label(
                    "This model may be too large for the memory that is left. If the app ends, take fewer bits or a smaller model.",
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
