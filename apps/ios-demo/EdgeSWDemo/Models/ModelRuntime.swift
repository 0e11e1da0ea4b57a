import EdgeSWKit
import Foundation
import Observation

/// The one engine in memory: a package's functions with or without the correction. The chat and the proof screen share it,
/// since a phone has memory for only one.
@MainActor @Observable
final class ModelRuntime {
    let opened: OpenedPackage
    /// The progress of loading; nil while nothing is being loaded.
    private(set) var loading: Double?

    private var loaded: (corrected: Bool, generator: Generator)?
    /// The last generator that was loaded. After it is released, an answer may hold it until the answer has stopped.
    @ObservationIgnored private weak var latest: Generator?
    private var work: Task<Generator, any Error>?

    init(_ opened: OpenedPackage) {
        self.opened = opened
    }

    /// Returns the generator for these functions, and loads it if necessary. An answer of the other one must be stopped first.
    func generator(corrected: Bool) async throws -> Generator {
        while let work { _ = await work.result }
        if let loaded, loaded.corrected == corrected { return loaded.generator }
        let task = Task {
            defer { work = nil }
            await stop()
            loaded = nil  // first: there is no memory for two
            try Task.checkCancellation()
            let generator = try await load(corrected: corrected)
            // Core ML completes a load even if the task was cancelled meanwhile. Nobody waits for the result then.
            try Task.checkCancellation()
            loaded = (corrected, generator)
            latest = generator
            return generator
        }
        work = task
        return try await withTaskCancellationHandler { try await task.value } onCancel: { task.cancel() }
    }

    /// Releases the memory and discards a load in progress. The next answer loads the compiled model again.
    func release() {
        work?.cancel()
        loaded = nil
    }

    /// Releases the memory, and returns when neither a load nor an answer holds any of it.
    func close() async {
        while let work {
            work.cancel()
            _ = await work.result
        }
        await stop()
        loaded = nil
    }

    /// Stops the answer that is being generated.
    func stop() async {
        await latest?.stop()
    }

    private func load(corrected: Bool) async throws -> Generator {
        loading = 0
        defer { loading = nil }
        let opened = opened, cache = Folders.compiled(opened.location)
        return try await withProgress({ self.loading = $0 }) { onProgress in
            let engine = try await CoreMLEngine(
                package: opened.package, corrected: corrected, cache: cache, progress: onProgress)
            return Generator(engine: engine, tokenizer: opened.tokenizer)
        }
    }
}
