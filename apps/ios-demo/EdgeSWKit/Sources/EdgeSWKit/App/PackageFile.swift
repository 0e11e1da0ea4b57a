import Foundation

/// A file of a package, as its manifest lists it.
public struct PackageFile: Sendable, Equatable {
    /// Relative to the package, with `/` between names.
    public let path: String
    public let bytes: Int

    public init(path: String, bytes: Int) {
        (self.path, self.bytes) = (path, bytes)
    }

    /// Whether the path stays inside the package, whoever wrote the manifest.
    var isInside: Bool {
        !path.isEmpty && !path.hasPrefix("/") && !path.contains("\0")
            && !path.split(separator: "/", omittingEmptySubsequences: false).contains { $0.isEmpty || $0 == "." || $0 == ".." }
    }
}

/// How much room a package needs before it is copied or fetched.
public struct RoomPlan: Sendable, Equatable {
    /// What has still to be written, and what Core ML will write when it compiles the model: about as much again.
    public let needed: Int
    /// What the system says is free; nil where it does not say.
    public let available: Int?

    /// Kept free for everything else on the device.
    public static let margin = 200_000_000

    public init(files: [PackageFile], present: Int = 0, available: Int?) {
        let bytes = totalBytes(files)
        needed = cappedSum(max(0, bytes - max(0, present)), bytes)
        self.available = available
    }

    public var fits: Bool { available.map { needed <= $0 - Self.margin } ?? true }
}

/// What all the files take. Sizes come from manifests, so that a sum may be more than an Int holds: then it is Int.max.
func totalBytes(_ files: some Sequence<PackageFile>) -> Int {
    files.reduce(0) { cappedSum($0, max(0, $1.bytes)) }
}

/// The sum of two sizes, at most Int.max.
func cappedSum(_ one: Int, _ other: Int) -> Int {
    let (sum, overflows) = one.addingReportingOverflow(other)
    return overflows ? .max : sum
}

public enum InstallError: LocalizedError, Equatable {
    case noRoom(needed: Int, available: Int)
    case leadsOutside(String)
    case wrongSize(String)

    public var errorDescription: String? {
        switch self {
        case .noRoom(let needed, let available):
            "This needs \(bytesText(cappedSum(needed, RoomPlan.margin))) of free space and there are \(bytesText(available)): free some and try again."
        case .leadsOutside(let path):
            "The package names a file outside itself (\(path)): it is damaged or was tampered with. Convert it again."
        case .wrongSize(let path):
            "\(path) did not arrive whole: try again."
        }
    }
}

/// Bytes for people: `94.8 MB`, decimal as systems show them.
public func bytesText(_ bytes: Int) -> String {
    let (size, unit) = bytes < 1_000_000_000 ? (Double(bytes) / 1e6, "MB") : (Double(bytes) / 1e9, "GB")
    return "\(size.formatted(.number.precision(.fractionLength(1)))) \(unit)"
}
