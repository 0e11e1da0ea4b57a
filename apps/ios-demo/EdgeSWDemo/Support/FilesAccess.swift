import EdgeSWKit
import Foundation

/// Files of a folder that the person picked, which may still have to come from iCloud or a server.
enum FilesAccess {
    static func read(_ url: URL) throws -> Data {
        try coordinated(url) { try Data(contentsOf: $0) }
    }

    static func copy(_ url: URL, to target: URL, written: (Int) -> Void) throws {
        try coordinated(url) { try PackageShelf.copy($0, to: target, written: written) }
    }

    private static func coordinated<Value>(_ url: URL, _ access: (URL) throws -> Value) throws -> Value {
        var refusal: NSError?
        var result: Result<Value, any Error>?
        NSFileCoordinator().coordinate(readingItemAt: url, options: [], error: &refusal) { readable in
            result = Result { try access(readable) }
        }
        guard let result else { throw refusal ?? CocoaError(.fileReadUnknown) }
        return try result.get()
    }
}
