import Foundation

/// Why a package cannot be used, in one line for people.
public enum PackageError: LocalizedError, Equatable {
    /// The folder, or what it was taken for, has no manifest.json.
    case noPackage(String)
    /// Its manifest is of another version of the format.
    case otherFormat(Int)
    case damaged(file: String, reason: String)
    /// A path in the manifest, or a link in the folder, leads out of the package.
    case leadsOutside(String)
    case missing(String)
    /// Its size or its SHA-256 is not the one in the manifest.
    case altered(String)
    case noCoreMLModel

    public var errorDescription: String? {
        switch self {
        case .noPackage(let name): "“\(name)” has no manifest.json: choose the folder that edgesw convert made."
        case .otherFormat(let found):
            "The package's format \(found) is not the one this app reads (\(Manifest.format)): convert the package again."
        case .damaged(let file, let reason): "\(file) is damaged (\(reason)): convert the package again."
        case .leadsOutside(let path): "The package names a file outside itself (\(path)): convert the package again."
        case .missing(let file): "\(file) is missing from the package: copy or convert the package again."
        case .altered(let file): "\(file) is not what edgesw wrote: copy or convert the package again."
        case .noCoreMLModel: "The package has no Core ML model: convert it again with --target coreml."
        }
    }
}

/// What a decoder complains of, in a few words.
func reason(_ error: any Error) -> String {
    guard let error = error as? DecodingError else { return "it cannot be read" }
    func place(_ context: DecodingError.Context, _ last: (any CodingKey)? = nil) -> String {
        let words = (context.codingPath + (last.map { [$0] } ?? [])).map { $0.intValue.map(String.init) ?? $0.stringValue }
        return words.isEmpty ? "the whole" : "'\(words.joined(separator: "."))'"
    }
    switch error {
    case .keyNotFound(let key, let context): return "\(place(context, key)) is missing"
    case .typeMismatch(_, let context), .valueNotFound(_, let context):
        return "\(place(context)) is not what it should be"
    case .dataCorrupted(let context):
        return context.codingPath.isEmpty ? "no JSON" : "\(place(context)) is not what it should be"
    @unknown default: return "it cannot be read"
    }
}
