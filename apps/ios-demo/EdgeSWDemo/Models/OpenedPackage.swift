import EdgeSWKit
import Foundation

/// A package that was verified, with what the screens need of it.
struct OpenedPackage: Sendable {
    let place: PackagePlace
    let package: ModelPackage
    let tokenizer: Tokenizer
    let validation: Validation?

    /// Checks every file against its SHA-256 first. Throws PackageError, TokenizerError.
    static func read(_ place: PackagePlace, tell: @Sendable (Double) -> Void) throws -> OpenedPackage {
        let package = try ModelPackage(folder: place.url)
        try package.verify(progress: tell)
        return OpenedPackage(
            place: place, package: package, tokenizer: try package.tokenizer(), validation: try package.validation())
    }

    var manifest: Manifest { package.manifest }

    /// Of the Core ML model: what memory has to take.
    var weightBytes: Int {
        guard let model = manifest.models["coreml"] else { return 0 }
        return manifest.files.filter { $0.key.hasPrefix(model) }.reduce(0) { $0 + $1.value.bytes }
    }
}
