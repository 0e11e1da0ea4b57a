import EdgeSWKit
import Foundation

/// Downloads single files from the Hugging Face Hub.
enum HubDownload {
    /// Downloads a file of `bytes` bytes to `target`, and reports how many have arrived.
    static func file(
        _ url: URL, bytes: Int, to target: URL, written: @escaping @Sendable (Int) -> Void
    ) async throws {
        let observer = ProgressObserver { written(Int($0 * Double(bytes))) }
        let (downloaded, response) = try await URLSession.shared.download(from: url, delegate: observer)
        defer { try? FileManager.default.removeItem(at: downloaded) }
        try check(response)
        try FileManager.default.moveItem(at: downloaded, to: target)
    }

    static func data(_ url: URL) async throws -> Data {
        let (data, response) = try await URLSession.shared.data(from: url)
        try check(response)
        return data
    }

    private static func check(_ response: URLResponse) throws {
        let status = (response as? HTTPURLResponse)?.statusCode ?? 0
        guard status == 200 else { throw HubError(status: status, file: response.url?.lastPathComponent ?? "") }
    }

    /// Observes a download's progress. An awaited download calls only this delegate method, once, when it begins.
    private final class ProgressObserver: NSObject, URLSessionTaskDelegate, @unchecked Sendable {
        private let onProgress: @Sendable (Double) -> Void
        private var observation: NSKeyValueObservation?  // set once, before the task starts

        init(_ onProgress: @escaping @Sendable (Double) -> Void) {
            self.onProgress = onProgress
        }

        func urlSession(_ session: URLSession, didCreateTask task: URLSessionTask) {
            observation = task.progress.observe(\.fractionCompleted) { [onProgress] progress, _ in
                onProgress(progress.fractionCompleted)
            }
        }
    }
}

struct HubError: LocalizedError {
    let status: Int
    let file: String

    var errorDescription: String? {
        String(localized: "The Hub did not return \(file) (status \(status.formatted())). Try again later.")
    }
}
