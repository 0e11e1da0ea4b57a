import EdgeSWKit
import Foundation

/// A package that the app can open. It has no path, since the paths of an app's container change when the app is updated.
struct PackageLocation: Codable, Hashable, Identifiable {
    let name: String
    let isBundled: Bool

    var id: String { key }

    /// A unique key, which is valid as a file name.
    var key: String { isBundled ? "bundled-\(name)" : "stored-\(name)" }

    var url: URL {
        let folder = isBundled ? Folders.bundled ?? Folders.packages : Folders.packages
        return folder.appending(path: name, directoryHint: .isDirectory)
    }

    var exists: Bool { FileManager.default.fileExists(atPath: url.appending(path: "manifest.json").path) }

    static func all(in store: PackageStore, isBundled: Bool) -> [PackageLocation] {
        store.packages().map { PackageLocation(name: $0.lastPathComponent, isBundled: isBundled) }
    }
}
