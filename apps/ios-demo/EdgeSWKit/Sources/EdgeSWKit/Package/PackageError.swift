import Foundation

/// Why a package cannot be used, in one line for users.
public enum PackageError: LocalizedError, Equatable {
    /// The folder has no manifest.json.
    case noManifest(String)
    /// The manifest has another version of the format.
    case otherFormat(Int)
    case damaged(file: String, reason: String)
    /// A path in the manifest, or a link in the folder, leads out of the package.
    case leadsOutside(String)
    case missing(String)
    /// The file's size or SHA-256 is not the one in the manifest.
    case altered(String)
    case noCoreMLModel

    public var errorDescription: String? {
        switch self {
        case .noManifest(let name): "“\(name)” has no manifest.json: choose the folder that edgesw convert wrote."
        case .otherFormat(let found):
            "The package has format \(found), and this app reads format \(Manifest.format): convert the package again."
        case .damaged(let file, let reason): "\(file) is damaged (\(reason)): convert the package again."
        case .leadsOutside(let path): "The package names a file outside itself (\(path)): convert the package again."
        case .missing(let file): "\(file) is missing from the package: copy or convert the package again."
        case .altered(let file): "\(file) was altered after edgesw wrote it: copy or convert the package again."
        case .noCoreMLModel: "The package has no Core ML model: convert it again with --target coreml."
        }
    }
}

/// A decoding error in a few words.
func reason(_ error: any Error) -> String {
    guard let error = error as? DecodingError else { return "it cannot be read" }
    func path(_ context: DecodingError.Context, _ last: (any CodingKey)? = nil) -> String {
        let keys = (context.codingPath + (last.map { [$0] } ?? [])).map { $0.intValue.map(String.init) ?? $0.stringValue }
        return keys.isEmpty ? "the content" : "'\(keys.joined(separator: "."))'"
    }
    switch error {
    case .keyNotFound(let key, let context): return "\(path(context, key)) is missing"
    case .typeMismatch(_, let context), .valueNotFound(_, let context):
        return "\(path(context)) is invalid"
    case .dataCorrupted(let context):
        return context.codingPath.isEmpty ? "not JSON" : "\(path(context)) is invalid"
    @unknown default: return "it cannot be read"
    }
}
