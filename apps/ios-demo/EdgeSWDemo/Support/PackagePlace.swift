import EdgeSWKit
import Foundation

/// A package the app can open, and where it is: paths of an app's container change when it is updated.
struct PackagePlace: Codable, Hashable, Identifiable {
    let name: String
    let isBundled: Bool

    var id: String { key }

    /// The same for the same package, and a folder's name.
    var key: String { isBundled ? "bundled-\(name)" : "kept-\(name)" }

    var url: URL {
        let folder = isBundled ? Folders.bundled ?? Folders.packages : Folders.packages
        return folder.appending(path: name, directoryHint: .isDirectory)
    }

    var exists: Bool { FileManager.default.fileExists(atPath: url.appending(path: "manifest.json").path) }

    static func all(in shelf: PackageShelf, isBundled: Bool) -> [PackagePlace] {
        shelf.packages().map { PackagePlace(name: $0.lastPathComponent, isBundled: isBundled) }
    }
}
