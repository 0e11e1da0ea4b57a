import EdgeSWKit
import SwiftUI

/// The screen for the stage that the app is in.
struct RootView: View {
    @Environment(AppModel.self) private var app

    var body: some View {
        switch app.stage {
        case .choosing:
            LibraryView(library: app.library)
        case .verifying(_, let fraction):
            OpeningView(title: Text("Checking the package"), detail: Text("The SHA-256 of every file is checked."), fraction: fraction)
        case .loading(let runtime):
            OpeningView(
                title: Text("Compiling the model"),
                detail: Text("Once for each package; later launches use the compiled model."),
                fraction: runtime.loading,
                isTight: app.device.reading.isTight(forWeights: runtime.opened.weightBytes))
        case .ready(let chat):
            ChatView(chat: chat)
                .id(chat.runtime.opened.location)
        case .failed(let location, let message):
            FailureView(location: location, message: message)
        }
    }
}
