import EdgeSWKit
import Foundation
import Observation

/// The available packages, and how new ones are added.
@MainActor @Observable
final class LibraryModel {
    struct Activity: Equatable {
        let name: String
        var fraction = 0.0
    }

    private(set) var stored: [PackageLocation] = []
    private(set) var bundled: [PackageLocation] = []
    private(set) var hub: [HubPackage] = []
    private(set) var hasUnfinished = false
    /// The copy or download in progress.
    private(set) var activity: Activity?
    /// The last error.
    var problem: String?

    private let store = PackageStore(folder: Folders.packages)
    private var work: Task<Void, Never>?

    init() {
        refresh()
        do {
            let list = Bundle.main.url(forResource: "hub-packages", withExtension: "json")
            hub = try list.map { try HubPackage.list(Data(contentsOf: $0)) } ?? []
        } catch {
            problem = error.localizedDescription
        }
    }

    func refresh() {
        stored = PackageLocation.all(in: store, isBundled: false)
        bundled = Folders.bundled.map { PackageLocation.all(in: PackageStore(folder: $0), isBundled: true) } ?? []
        hasUnfinished = !store.unfinished().isEmpty
    }

    /// Copies a package from a folder that the user picked. `done` receives its new location.
    func add(from folder: URL, done: @escaping @MainActor (PackageLocation) -> Void) {
        run(folder.lastPathComponent, done) { [store] onProgress in
            let isScoped = folder.startAccessingSecurityScopedResource()
            defer { if isScoped { folder.stopAccessingSecurityScopedResource() } }
            let manifest = try? FilesAccess.read(folder.appending(path: "manifest.json"))
            guard let manifest else { throw LibraryError.noManifest(folder.lastPathComponent) }
            return try await store.add(
                name: folder.lastPathComponent, manifest: manifest, files: Self.files(manifest),
                available: Folders.freeBytes(), resumable: false,
                transfer: { try FilesAccess.copy(folder.appending(path: $0.path), to: $1, written: $2) }, progress: onProgress)
        }
    }

    /// Downloads a package from the Hub, file by file. An interrupted download resumes.
    func add(_ package: HubPackage, done: @escaping @MainActor (PackageLocation) -> Void) {
        run(package.name, done) { [store] onProgress in
            guard let url = package.url(of: "manifest.json") else { throw URLError(.badURL) }
            let manifest = try await HubDownload.data(url)
            return try await store.add(
                name: package.name, manifest: manifest, files: Self.files(manifest),
                available: Folders.freeBytes(), resumable: true,
                transfer: { file, target, written in
                    guard let url = package.url(of: file.path) else { throw InstallError.leadsOutside(file.path) }
                    try await HubDownload.file(url, bytes: file.bytes, to: target, written: written)
                }, progress: onProgress)
        }
    }

    func cancel() {
        work?.cancel()
    }

    func remove(_ location: PackageLocation) {
        guard !location.isBundled else { return }
        do {
            try store.remove(location.url)
            try? FileManager.default.removeItem(at: Folders.compiled(location))
            ConversationStore(location).remove()
        } catch {
            problem = error.localizedDescription
        }
        refresh()
    }

    func removeUnfinished() {
        store.unfinished().forEach { try? store.remove($0) }
        refresh()
    }

    private func run(
        _ name: String, _ done: @escaping @MainActor (PackageLocation) -> Void,
        _ work: @escaping @Sendable (_ onProgress: @escaping @Sendable (Double) -> Void) async throws -> URL
    ) {
        guard activity == nil else { return }
        activity = Activity(name: name)
        problem = nil
        self.work = Task {
            do {
                let folder = try await withProgress({ self.activity?.fraction = $0 }, work)
                finish()
                done(PackageLocation(name: folder.lastPathComponent, isBundled: false))
            } catch {
                finish()
                // URLSession reports a cancelled task with an error of its own.
                if !(error is CancellationError), (error as? URLError)?.code != .cancelled {
                    problem = error.localizedDescription
                }
            }
        }
    }

    private func finish() {
        activity = nil
        refresh()
    }

    private nonisolated static func files(_ manifest: Data) throws -> [PackageFile] {
        let files = try JSONDecoder().decode(Manifest.self, from: manifest).files
        return files.map { PackageFile(path: $0.key, bytes: $0.value.bytes) }.sorted { $0.path < $1.path }
    }
}

enum LibraryError: LocalizedError {
    case noManifest(String)

    var errorDescription: String? {
        switch self {
        case .noManifest(let name):
            String(localized: "“\(name)” has no manifest.json: choose the folder that edgesw convert wrote.")
        }
    }
}
