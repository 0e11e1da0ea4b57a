import EdgeSWKit
import Foundation

/// A verified package, with what the screens need from it.
struct OpenedPackage: Sendable {
    let location: PackageLocation
    let package: ModelPackage
    let tokenizer: Tokenizer
    let validation: Validation?

    /// Checks the SHA-256 of every file, then reads the package. Throws PackageError or TokenizerError.
    static func read(_ location: PackageLocation, onProgress: @Sendable (Double) -> Void) throws -> OpenedPackage {
        let package = try ModelPackage(folder: location.url)
        try package.verify(progress: onProgress)
        return OpenedPackage(
            location: location, package: package, tokenizer: try package.tokenizer(), validation: try package.validation())
    }

    var manifest: Manifest { package.manifest }

    /// The size of the Core ML model, which has to fit into memory.
    var weightBytes: Int { manifest.modelBytes("coreml") }
}
