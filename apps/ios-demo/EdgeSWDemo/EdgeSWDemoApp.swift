import SwiftUI
import UIKit

@main
struct EdgeSWDemoApp: App {
    @State private var app = AppModel()
    @Environment(\.scenePhase) private var phase

    var body: some Scene {
        WindowGroup {
            RootView()
                .environment(app)
                .task { await app.device.follow() }
                .task { app.restore() }
                .onReceive(NotificationCenter.default.publisher(for: UIApplication.didReceiveMemoryWarningNotification)) { _ in
                    app.memoryWarning()
                }
                .onChange(of: phase) { _, phase in
                    if phase == .background { app.enterBackground() }
                }
        }
    }
}
