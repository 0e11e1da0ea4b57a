import Foundation

/// The app's folders.
enum Folders {
    /// Packages that were copied or downloaded. They are large and can be restored from their source: no backup.
    static let packages = created("Packages", backedUp: false)
    /// Conversations and settings, one file per package.
    static let conversations = created("Conversations", backedUp: true)
    /// Packages that `edgesw demo-app` built into the app.
    static let bundled = Bundle.main.resourceURL?.appending(path: "Packages", directoryHint: .isDirectory)

    /// The compiled models of a package. The system may delete them when disk space is low; they are then compiled again.
    static func compiled(_ location: PackageLocation) -> URL {
        URL.cachesDirectory.appending(path: "Compiled/\(location.key)", directoryHint: .isDirectory)
    }

    /// The disk space, in bytes, for something that the user requested; nil if the system does not report it.
    static func freeBytes() -> Int? {
        let values = try? packages.resourceValues(forKeys: [.volumeAvailableCapacityForImportantUsageKey])
        return values?.volumeAvailableCapacityForImportantUsage.map { Int($0) }
    }

    private static func created(_ name: String, backedUp: Bool) -> URL {
        var folder = URL.applicationSupportDirectory.appending(path: name, directoryHint: .isDirectory)
        try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        var values = URLResourceValues()
        values.isExcludedFromBackup = !backedUp
        try? folder.setResourceValues(values)
        return folder
    }
}
