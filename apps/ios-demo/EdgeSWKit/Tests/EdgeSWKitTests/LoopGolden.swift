import Foundation
import Testing

/// Golden files: those that `scripts/swift-test.sh` makes anew where it runs the tests, else those in the repository.
enum LoopGolden {
    static func file(_ name: String) throws -> Data {
        let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden")
        let folder = ProcessInfo.processInfo.environment["EDGESW_GOLDEN"].map { URL(fileURLWithPath: $0) } ?? here
        let file = folder.appendingPathComponent(name)
        do {
            return try Data(contentsOf: file)
        } catch {
            throw Missing(description: "\(file.path) is missing: make it with python scripts/swift_goldens \(folder.path)")
        }
    }

    static func json<Content: Decodable>(_ name: String, _ type: Content.Type = Content.self) throws -> Content {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(type, from: file(name))
    }

    struct Missing: Error, CustomStringConvertible { let description: String }
}
