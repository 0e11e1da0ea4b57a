import Foundation

/// Where compiled models are kept: a model is compiled once, which takes up to minutes.
struct CompiledModels: Sendable {
    let folder: URL

    /// The place of a compiled model, named by its content. `files`: SHA-256 of the package's files by their paths;
    /// `model`: the path of the .mlpackage among them. nil where the manifest names no file of it.
    func place(of model: String, files: [String: String]) -> URL? {
        let own = files.filter { path, _ in path.hasPrefix(model + "/") && !path.hasSuffix("/Manifest.json") }
        let digests = own.sorted { $0.key < $1.key }.map { String($0.value.prefix(32)) }
        guard !digests.isEmpty else { return nil }
        return folder.appendingPathComponent(digests.joined(separator: "-") + ".mlmodelc", isDirectory: true)
    }

    /// The kept model, or else `compile`'s, which is moved there. A copy that another process made meanwhile is taken.
    func kept(at place: URL, compile: () async throws -> URL) async throws -> URL {
        if FileManager.default.fileExists(atPath: place.path) { return place }
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let made = try await compile()
        do {
            try FileManager.default.moveItem(at: made, to: place)
        } catch where FileManager.default.fileExists(atPath: place.path) {
            try? FileManager.default.removeItem(at: made)
        }
        return place
    }
}
