import SwiftUI

/// Why a package could not be opened, and the ways back.
struct FailureView: View {
    let place: PackagePlace
    let message: String

    @Environment(AppModel.self) private var app

    var body: some View {
        ContentUnavailableView {
            Label("“\(place.name)” cannot be opened", systemImage: "shippingbox.and.arrow.backward")
        } description: {
            Text(verbatim: message)
        } actions: {
            Button("Choose another package") { app.choose() }
                .buttonStyle(.borderedProminent)
            Button("Try again") { app.open(place) }
            if place.isBundled {
                Text("It is built into the app: run edgesw demo-app again with --force, then build.")
                    .font(.footnote)
                    .foregroundStyle(.secondary)
            } else {
                Button("Remove this package", role: .destructive) { app.remove(place) }
            }
        }
    }
}
