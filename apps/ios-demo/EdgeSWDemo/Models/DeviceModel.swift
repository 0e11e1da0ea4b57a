import EdgeSWKit
import Observation

/// Memory and thermal state, read once a second while the app is in the foreground.
@MainActor @Observable
final class DeviceModel {
    private(set) var reading = readDevice()

    /// Runs until its task is cancelled.
    func follow() async {
        while !Task.isCancelled {
            reading = readDevice()
            try? await Task.sleep(for: .seconds(1))
        }
    }
}
