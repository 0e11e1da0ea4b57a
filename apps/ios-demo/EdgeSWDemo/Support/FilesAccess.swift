import EdgeSWKit
import Foundation

/// Reads files in a folder that the user picked. They may have to be downloaded from iCloud or a server first.
enum FilesAccess {
    static func read(_ url: URL) throws -> Data {
        try coordinated(url) { try Data(contentsOf: $0) }
    }

    static func copy(_ url: URL, to target: URL, written: (Int) -> Void) throws {
        try coordinated(url) { try PackageStore.copy($0, to: target, written: written) }
    }

    private static func coordinated<Value>(_ url: URL, _ access: (URL) throws -> Value) throws -> Value {
        var coordinationError: NSError?
        var result: Result<Value, any Error>?
        NSFileCoordinator().coordinate(readingItemAt: url, options: [], error: &coordinationError) { readable in
            result = Result { try access(readable) }
        }
        guard let result else { throw coordinationError ?? CocoaError(.fileReadUnknown) }
        return try result.get()
    }
}
