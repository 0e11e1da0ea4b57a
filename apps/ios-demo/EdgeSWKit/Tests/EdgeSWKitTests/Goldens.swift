import Foundation
import Testing

/// The golden files that `python scripts/swift_goldens FOLDER` makes, in the folder that EDGESW_GOLDEN names; where it names
/// none, the few that are in the repository.
enum Goldens {
    private static let made = ProcessInfo.processInfo.environment["EDGESW_GOLDEN"].map { URL(fileURLWithPath: $0) }
    private static let kept = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden")

    /// Whether all of them are there.
    static var isThere: Bool { made != nil }
    static let hint: Comment = "run scripts/swift-test.sh, or set EDGESW_GOLDEN to what scripts/swift_goldens has made"

    static func file(_ path: String) -> URL { (made ?? kept).appendingPathComponent(path) }

    /// Fails where the file is missing.
    static func data(_ path: String) throws -> Data {
        do {
            return try Data(contentsOf: file(path))
        } catch {
            throw Missing(description: "\(file(path).path) is missing: \(hint)")
        }
    }

    /// Keys are in snake case.
    static func json<Value: Decodable>(_ path: String, as type: Value.Type = Value.self) throws -> Value {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(Value.self, from: data(path))
    }

    struct Missing: Error, CustomStringConvertible { let description: String }

    /// Numbers between spaces, a list a line.
    static func numbers(_ path: String) throws -> [[Int]] {
        try data(path).split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast().map { line in
            try line.split(separator: UInt8(ascii: " ")).map { try #require(Int(String(decoding: $0, as: UTF8.self))) }
        }
    }

    /// A JSON value a line.
    static func lines<Value: Decodable>(_ path: String, as type: Value.Type = Value.self) throws -> [Value] {
        let decoder = JSONDecoder()
        return try data(path).split(separator: UInt8(ascii: "\n")).map { try decoder.decode(Value.self, from: $0) }
    }
}

/// Equal scalar by scalar: Swift's == takes two spellings of a character for the same text.
func isSame(_ one: String, _ other: String) -> Bool { one.utf8.elementsEqual(other.utf8) }

/// A text with what is not printable spelled out, for messages.
func shown(_ text: String) -> String {
    let escaped = text.unicodeScalars.prefix(120).map { $0.escaped(asASCII: true) }.joined()
    return text.unicodeScalars.count > 120 ? escaped + "..." : escaped
}
