import EdgeSWKit
import Observation

/// Memory and heat, read once a second while the app is in front.
@MainActor @Observable
final class DeviceModel {
    private(set) var reading = readDevice()

    /// Until the task it runs in is cancelled.
    func follow() async {
        while !Task.isCancelled {
            reading = readDevice()
            try? await Task.sleep(for: .seconds(1))
        }
    }
}
