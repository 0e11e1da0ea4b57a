import Foundation

/// A file of a package, as its manifest lists it.
public struct PackageFile: Sendable, Equatable {
    /// The path relative to the package, with `/` between its components.
    public let path: String
    public let bytes: Int

    public init(path: String, bytes: Int) {
        (self.path, self.bytes) = (path, bytes)
    }

    /// Whether the path stays inside the package. Manifests come from anywhere.
    var isInside: Bool {
        !path.isEmpty && !path.hasPrefix("/") && !path.contains("\0")
            && !path.split(separator: "/", omittingEmptySubsequences: false).contains { $0.isEmpty || $0 == "." || $0 == ".." }
    }
}

/// The disk space that a package needs before it is copied or downloaded.
public struct SpaceRequirement: Sendable, Equatable {
    /// The bytes that are still to be written, and those that Core ML writes when it compiles the model: about as many.
    public let needed: Int
    /// The free space that the system reports; nil if it reports none.
    public let available: Int?

    /// The space that stays free for everything else on the device.
    public static let margin = 200_000_000

    public init(files: [PackageFile], present: Int = 0, available: Int?) {
        let bytes = totalBytes(files)
        needed = cappedSum(max(0, bytes - max(0, present)), bytes)
        self.available = available
    }

    public var isMet: Bool { available.map { needed <= $0 - Self.margin } ?? true }
}

/// The size of all the files. Sizes come from manifests, so the sum may exceed Int: then it is Int.max.
func totalBytes(_ files: some Sequence<PackageFile>) -> Int {
    files.reduce(0) { cappedSum($0, max(0, $1.bytes)) }
}

/// The sum of two sizes, at most Int.max.
func cappedSum(_ one: Int, _ other: Int) -> Int {
    let (sum, overflows) = one.addingReportingOverflow(other)
    return overflows ? .max : sum
}

public enum InstallError: LocalizedError, Equatable {
    case notEnoughSpace(needed: Int, available: Int)
    case leadsOutside(String)
    case wrongSize(String)

    public var errorDescription: String? {
        switch self {
        case .notEnoughSpace(let needed, let available):
            "Not enough disk space: this needs \(bytesText(cappedSum(needed, SpaceRequirement.margin))), and \(bytesText(available)) are free. Free some space and try again."
        case .leadsOutside(let path):
            "The package names a file outside itself (\(path)): it is damaged or was tampered with. Convert it again."
        case .wrongSize(let path):
            "\(path) is incomplete: try again."
        }
    }
}

/// A size for users: `94.8 MB`, in decimal units as systems show them.
public func bytesText(_ bytes: Int) -> String {
    let (size, unit) = bytes < 1_000_000_000 ? (Double(bytes) / 1e6, "MB") : (Double(bytes) / 1e9, "GB")
    return "\(size.formatted(.number.precision(.fractionLength(1)))) \(unit)"
}
