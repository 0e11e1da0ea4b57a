import EdgeSWKit
import Foundation
import Observation

/// The packages at hand, and how more of them come in.
@MainActor @Observable
final class LibraryModel {
    struct Activity: Equatable {
        let name: String
        var share = 0.0
    }

    private(set) var kept: [PackagePlace] = []
    private(set) var bundled: [PackagePlace] = []
    private(set) var hub: [HubPackage] = []
    private(set) var hasUnfinished = false
    /// What is being copied or fetched.
    private(set) var activity: Activity?
    /// Why the last attempt failed.
    var problem: String?

    private let shelf = PackageShelf(folder: Folders.packages)
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
        kept = PackagePlace.all(in: shelf, isBundled: false)
        bundled = Folders.bundled.map { PackagePlace.all(in: PackageShelf(folder: $0), isBundled: true) } ?? []
        hasUnfinished = !shelf.unfinished().isEmpty
    }

    /// Copies a package out of a folder that the person picked; `done` hears where it is then.
    func add(from folder: URL, done: @escaping @MainActor (PackagePlace) -> Void) {
        run(folder.lastPathComponent, done) { [shelf] tell in
            let isScoped = folder.startAccessingSecurityScopedResource()
            defer { if isScoped { folder.stopAccessingSecurityScopedResource() } }
            let manifest = try? FilesAccess.read(folder.appending(path: "manifest.json"))
            guard let manifest else { throw LibraryError.noManifest(folder.lastPathComponent) }
            return try await shelf.add(
                name: folder.lastPathComponent, manifest: manifest, files: Self.files(manifest),
                available: Folders.freeBytes(), resumable: false,
                place: { try FilesAccess.copy(folder.appending(path: $0.path), to: $1, written: $2) }, progress: tell)
        }
    }

    /// Fetches a package from the hub, file by file. One that broke off goes on where it was.
    func add(_ package: HubPackage, done: @escaping @MainActor (PackagePlace) -> Void) {
        run(package.name, done) { [shelf] tell in
            guard let address = package.address(of: "manifest.json") else { throw URLError(.badURL) }
            let manifest = try await HubFetch.data(address)
            return try await shelf.add(
                name: package.name, manifest: manifest, files: Self.files(manifest),
                available: Folders.freeBytes(), resumable: true,
                place: { file, target, written in
                    guard let address = package.address(of: file.path) else { throw InstallError.leadsOutside(file.path) }
                    try await HubFetch.file(address, bytes: file.bytes, to: target, written: written)
                }, progress: tell)
        }
    }

    func cancel() {
        work?.cancel()
    }

    func remove(_ place: PackagePlace) {
        guard !place.isBundled else { return }
        do {
            try shelf.remove(place.url)
            try? FileManager.default.removeItem(at: Folders.compiled(place))
            ConversationStore(place).remove()
        } catch {
            problem = error.localizedDescription
        }
        refresh()
    }

    func removeUnfinished() {
        shelf.unfinished().forEach { try? shelf.remove($0) }
        refresh()
    }

    private func run(
        _ name: String, _ done: @escaping @MainActor (PackagePlace) -> Void,
        _ work: @escaping @Sendable (_ tell: @escaping @Sendable (Double) -> Void) async throws -> URL
    ) {
        guard activity == nil else { return }
        activity = Activity(name: name)
        problem = nil
        self.work = Task {
            do {
                let folder = try await following({ self.activity?.share = $0 }, work)
                finish()
                done(PackagePlace(name: folder.lastPathComponent, isBundled: false))
            } catch {
                finish()
                // URLSession has its own word for a cancelled task.
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
            String(localized: "“\(name)” has no manifest.json: choose the folder that edgesw convert made.")
        }
    }
}
