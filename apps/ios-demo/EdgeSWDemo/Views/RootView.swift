import EdgeSWKit
import SwiftUI

/// The screen for where the app is.
struct RootView: View {
    @Environment(AppModel.self) private var app

    var body: some View {
        switch app.stage {
        case .choosing:
            LibraryView(library: app.library)
        case .verifying(_, let share):
            OpeningView(title: Text("Checking the package"), detail: Text("Every file is held to its SHA-256."), share: share)
        case .loading(let runtime):
            OpeningView(
                title: Text("Compiling the model"),
                detail: Text("Once for this package; later starts take what is compiled."),
                share: runtime.loading,
                isTight: app.device.reading.isTight(forWeights: runtime.opened.weightBytes))
        case .ready(let chat):
            ChatView(chat: chat)
                .id(chat.runtime.opened.place)
        case .failed(let place, let message):
            FailureView(place: place, message: message)
        }
    }
}
