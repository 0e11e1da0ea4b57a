import Foundation
import Testing

/// The golden files that `python scripts/swift_goldens FOLDER` writes, in the folder that EDGESW_GOLDEN names. Without it,
/// the few that are in the repository.
enum Goldens {
    private static let generated = ProcessInfo.processInfo.environment["EDGESW_GOLDEN"].map { URL(fileURLWithPath: $0) }
    private static let committed = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden")

    /// Whether all golden files are available.
    static var areGenerated: Bool { generated != nil }
    static let hint: Comment = "run scripts/swift-test.sh, or set EDGESW_GOLDEN to a folder that scripts/swift_goldens wrote"

    static func file(_ path: String) -> URL { (generated ?? committed).appendingPathComponent(path) }

    /// Throws for a missing file.
    static func data(_ path: String) throws -> Data {
        do {
            return try Data(contentsOf: file(path))
        } catch {
            throw Missing(description: "\(file(path).path) is missing: \(hint)")
        }
    }

    /// Decodes JSON whose keys are in snake case.
    static func json<Value: Decodable>(_ path: String, as type: Value.Type = Value.self) throws -> Value {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(Value.self, from: data(path))
    }

    struct Missing: Error, CustomStringConvertible { let description: String }

    /// Reads one list of numbers per line, separated by spaces.
    static func numbers(_ path: String) throws -> [[Int]] {
        try data(path).split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast().map { line in
            try line.split(separator: UInt8(ascii: " ")).map { try #require(Int(String(decoding: $0, as: UTF8.self))) }
        }
    }

    /// Decodes one JSON value per line.
    static func lines<Value: Decodable>(_ path: String, as type: Value.Type = Value.self) throws -> [Value] {
        let decoder = JSONDecoder()
        return try data(path).split(separator: UInt8(ascii: "\n")).map { try decoder.decode(Value.self, from: $0) }
    }
}

/// Whether two texts are equal scalar by scalar: Swift's == treats canonically equivalent spellings as equal.
func isSame(_ one: String, _ other: String) -> Bool { one.utf8.elementsEqual(other.utf8) }

/// A text for messages, with characters that are not printable escaped.
func shown(_ text: String) -> String {
    let escaped = text.unicodeScalars.prefix(120).map { $0.escaped(asASCII: true) }.joined()
    return text.unicodeScalars.count > 120 ? escaped + "..." : escaped
}
