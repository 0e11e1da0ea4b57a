import EdgeSWKit
import Foundation

/// Fetches single files from the hub.
enum HubFetch {
    /// Puts the file of so many bytes behind `address` at `target`, telling how many have come.
    static func file(
        _ address: URL, bytes: Int, to target: URL, written: @escaping @Sendable (Int) -> Void
    ) async throws {
        let watcher = Watcher { written(Int($0 * Double(bytes))) }
        let (arrived, response) = try await URLSession.shared.download(from: address, delegate: watcher)
        defer { try? FileManager.default.removeItem(at: arrived) }
        try check(response)
        try FileManager.default.moveItem(at: arrived, to: target)
    }

    static func data(_ address: URL) async throws -> Data {
        let (data, response) = try await URLSession.shared.data(from: address)
        try check(response)
        return data
    }

    private static func check(_ response: URLResponse) throws {
        let status = (response as? HTTPURLResponse)?.statusCode ?? 0
        guard status == 200 else { throw HubError(status: status, file: response.url?.lastPathComponent ?? "") }
    }

    /// A download that is awaited reports to no delegate but this one, once, when it begins.
    private final class Watcher: NSObject, URLSessionTaskDelegate, @unchecked Sendable {
        private let tell: @Sendable (Double) -> Void
        private var observation: NSKeyValueObservation?  // set once, before the task starts

        init(_ tell: @escaping @Sendable (Double) -> Void) {
            self.tell = tell
        }

        func urlSession(_ session: URLSession, didCreateTask task: URLSessionTask) {
            observation = task.progress.observe(\.fractionCompleted) { [tell] progress, _ in
                tell(progress.fractionCompleted)
            }
        }
    }
}

struct HubError: LocalizedError {
    let status: Int
    let file: String

    var errorDescription: String? {
        String(localized: "The hub did not give \(file) (status \(status.formatted())). Try again later.")
    }
}
