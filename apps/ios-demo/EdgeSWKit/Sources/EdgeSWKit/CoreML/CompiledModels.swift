import Foundation

/// A cache of compiled models: a model is compiled once, which takes up to minutes.
struct CompiledModels: Sendable {
    let folder: URL

    /// The URL of a compiled model, whose name is derived from the model's content. `files` maps the paths of the package's
    /// files to their SHA-256, and `model` is the path of the .mlpackage. nil if the manifest names none of its files.
    func url(of model: String, files: [String: String]) -> URL? {
        let modelFiles = files.filter { path, _ in path.hasPrefix(model + "/") && !path.hasSuffix("/Manifest.json") }
        let digests = modelFiles.sorted { $0.key < $1.key }.map { String($0.value.prefix(32)) }
        guard !digests.isEmpty else { return nil }
        return folder.appendingPathComponent(digests.joined(separator: "-") + ".mlmodelc", isDirectory: true)
    }

    /// Returns the cached model at `url`, or compiles it and moves the result there. If another process has stored the model
    /// meanwhile, that one is returned.
    func model(at url: URL, compile: () async throws -> URL) async throws -> URL {
        if FileManager.default.fileExists(atPath: url.path) { return url }
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let compiled = try await compile()
        do {
            try FileManager.default.moveItem(at: compiled, to: url)
        } catch where FileManager.default.fileExists(atPath: url.path) {
            try? FileManager.default.removeItem(at: compiled)
        }
        return url
    }
}
