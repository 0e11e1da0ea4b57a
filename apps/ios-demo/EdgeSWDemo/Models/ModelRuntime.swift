import EdgeSWKit
import Foundation
import Observation

/// The one engine in memory: a package's functions with or without the correction. Chat and proof share it, since a phone
/// has room for one.
@MainActor @Observable
final class ModelRuntime {
    let opened: OpenedPackage
    /// How far loading is; nil while nothing loads.
    private(set) var loading: Double?

    private var loaded: (corrected: Bool, generator: Generator)?
    /// The generator loaded last: after its release an answer may hold it until it has stopped.
    @ObservationIgnored private weak var latest: Generator?
    private var work: Task<Generator, any Error>?

    init(_ opened: OpenedPackage) {
        self.opened = opened
    }

    /// The generator for these functions, loaded if it is not there. Whoever generates with the other one has to stop first.
    func generator(corrected: Bool) async throws -> Generator {
        while let work { _ = await work.result }
        if let loaded, loaded.corrected == corrected { return loaded.generator }
        let task = Task {
            defer { work = nil }
            await stop()
            loaded = nil  // before the next one: two do not fit
            try Task.checkCancellation()
            let generator = try await load(corrected: corrected)
            // Core ML loads to the end whatever was cancelled meanwhile: what nobody waits for is not kept.
            try Task.checkCancellation()
            loaded = (corrected, generator)
            latest = generator
            return generator
        }
        work = task
        return try await withTaskCancellationHandler { try await task.value } onCancel: { task.cancel() }
    }

    /// Gives the memory back, and what is being loaded is not kept. The next answer loads the model again, from what is
    /// compiled.
    func release() {
        work?.cancel()
        loaded = nil
    }

    /// Gives the memory back, and is over when nothing of it is held by a load or an answer any more.
    func close() async {
        while let work {
            work.cancel()
            _ = await work.result
        }
        await stop()
        loaded = nil
    }

    /// Ends the answer that is being written.
    func stop() async {
        await latest?.stop()
    }

    private func load(corrected: Bool) async throws -> Generator {
        loading = 0
        defer { loading = nil }
        let opened = opened, cache = Folders.compiled(opened.place)
        return try await following({ self.loading = $0 }) { tell in
            let engine = try await CoreMLEngine(package: opened.package, corrected: corrected, cache: cache, progress: tell)
            return Generator(engine: engine, tokenizer: opened.tokenizer, endIDs: opened.manifest.decoder.eosTokenIDs)
        }
    }
}
