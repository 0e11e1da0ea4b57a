import SwiftUI

/// The reason why a package could not be opened, and what the user can do.
struct FailureView: View {
    let location: PackageLocation
    let message: String

    @Environment(AppModel.self) private var app

    var body: some View {
        ContentUnavailableView {
            Label("“\(location.name)” cannot be opened", systemImage: "shippingbox.and.arrow.backward")
        } description: {
            Text(verbatim: message)
        } actions: {
            Button("Choose another package") { app.choose() }
                .buttonStyle(.borderedProminent)
            Button("Try again") { app.open(location) }
            if location.isBundled {
                Text("This package is built into the app: run edgesw demo-app again with --force, then rebuild the app.")
                    .font(.footnote)
                    .foregroundStyle(.secondary)
            } else {
                Button("Remove this package", role: .destructive) { app.remove(location) }
            }
        }
    }
}
