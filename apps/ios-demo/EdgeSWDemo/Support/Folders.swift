import Foundation

/// Where the app keeps what it keeps.
enum Folders {
    /// Packages copied or fetched. They are large and can be had again: no backup.
    static let packages = made("Packages", backedUp: false)
    /// Conversations and settings, a file for each package.
    static let conversations = made("Conversations", backedUp: true)
    /// Built into the app by `edgesw demo-app`.
    static let bundled = Bundle.main.resourceURL?.appending(path: "Packages", directoryHint: .isDirectory)

    /// Compiled models of a package. The system may delete them when room is short; then they are compiled again.
    static func compiled(_ place: PackagePlace) -> URL {
        URL.cachesDirectory.appending(path: "Compiled/\(place.key)", directoryHint: .isDirectory)
    }

    /// Bytes that may be written for something the person asked for; nil where the system does not say.
    static func freeBytes() -> Int? {
        let values = try? packages.resourceValues(forKeys: [.volumeAvailableCapacityForImportantUsageKey])
        return values?.volumeAvailableCapacityForImportantUsage.map { Int($0) }
    }

    private static func made(_ name: String, backedUp: Bool) -> URL {
        var folder = URL.applicationSupportDirectory.appending(path: name, directoryHint: .isDirectory)
        try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        var values = URLResourceValues()
        values.isExcludedFromBackup = !backedUp
        try? folder.setResourceValues(values)
        return folder
    }
}
