import Foundation

/// A folder that `edgesw convert` wrote.
public struct ModelPackage: Sendable {
    public let folder: URL
    public let manifest: Manifest

    /// Reads the manifest, but no other file. Throws PackageError if it is missing, damaged, of another format, or names a
    /// file outside the folder.
    public init(folder: URL) throws {
        let path = folder.appendingPathComponent("manifest.json")
        guard FileManager.default.fileExists(atPath: path.path) else {
            throw PackageError.noManifest(folder.lastPathComponent)
        }
        do {
            manifest = try JSONDecoder().decode(Manifest.self, from: Data(contentsOf: path))
        } catch let error as PackageError {
            throw error
        } catch {
            throw PackageError.damaged(file: "manifest.json", reason: reason(error))
        }
        self.folder = folder
        for name in Array(manifest.files.keys) + manifest.models.values.map(\.path) where !isInside(name) {
            throw PackageError.leadsOutside(name)
        }
    }

    /// Whether a path stays in the folder once links are followed. It need not exist.
    private func isInside(_ path: String) -> Bool {
        let components = path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        guard !path.utf8.contains(0), !components.contains(where: { ["", ".", ".."].contains(String($0)) }) else {
            return false
        }
        let root = folder.resolvingSymlinksInPath().path
        // One component at a time: a link in the middle of the path may lead out of the folder, to a missing file.
        var url = folder
        for component in components {
            url.appendPathComponent(String(component)!)
            // Links only: for files that do not exist, Apple's Foundation returns another path of the parent folder.
            let attributes = try? FileManager.default.attributesOfItem(atPath: url.path)
            guard attributes?[.type] as? FileAttributeType == .typeSymbolicLink else { continue }
            let target = url.resolvingSymlinksInPath().path
            guard target.hasPrefix(root.hasSuffix("/") ? root : root + "/") else { return false }
        }
        return true
    }

    /// Checks the size and the SHA-256 of every file; `progress` receives fractions from 0 to 1. Throws a PackageError that
    /// names the first file that is missing or altered, or CancellationError in a task that was cancelled.
    public func verify(progress: @Sendable (Double) -> Void) throws {
        let files = manifest.files.sorted { $0.key < $1.key }
        for (name, file) in files { try checkSize(name, file) }
        let total = files.reduce(0.0) { $0 + Double($1.value.bytes) }
        var done = 0.0
        progress(0)
        for (name, file) in files {
            do {
                let digest = try FileChecksum.sha256(of: folder.appendingPathComponent(name)) {
                    done += Double($0)
                    progress(min(1, done / max(1, total)))
                }
                guard digest == file.sha256.lowercased() else { throw PackageError.altered(name) }
            } catch let error as PackageError {
                throw error
            } catch let error as CancellationError {
                throw error
            } catch {
                throw PackageError.damaged(file: name, reason: "it cannot be read")
            }
        }
        progress(1)
    }

    private func checkSize(_ name: String, _ file: Manifest.File) throws {
        let path = folder.appendingPathComponent(name).resolvingSymlinksInPath().path
        guard let attributes = try? FileManager.default.attributesOfItem(atPath: path),
            attributes[.type] as? FileAttributeType == .typeRegular
        else { throw PackageError.missing(name) }
        guard (attributes[.size] as? NSNumber)?.intValue == file.bytes else { throw PackageError.altered(name) }
    }

    /// Returns the .mlpackage, or all chunks in the order in which they run. Throws PackageError if there is none, or if one
    /// of them is missing.
    public func coreMLModels() throws -> [URL] {
        guard let model = manifest.models["coreml"] else { throw PackageError.noCoreMLModel }
        let paths = model.path.hasSuffix(".mlpackage") ? [model.path] : try chunks(model)
        for path in paths where !model.files.contains(where: { $0.hasPrefix(path + "/") }) {
            throw PackageError.missing(path)
        }
        return paths.map { folder.appendingPathComponent($0, isDirectory: true) }
    }

    /// Returns the paths `folder/1-of-N.mlpackage` to `folder/N-of-N.mlpackage`.
    private func chunks(_ model: Manifest.Model) throws -> [String] {
        let path = model.path
        let names = model.files.filter { $0.hasPrefix(path + "/") }
            .map { $0.dropFirst(path.count + 1).prefix { $0 != "/" } }
        let counts = Set(
            names.compactMap { name in name.split(separator: "-").last.flatMap { Int($0.prefix { $0 != "." }) } })
        guard let count = counts.first, counts.count == 1, 1...1_000 ~= count else { throw PackageError.missing(path) }
        return (1...count).map { "\(path)/\($0)-of-\(count).mlpackage" }
    }

    /// Reads the tokenizer. Throws PackageError or TokenizerError.
    public func tokenizer() throws -> Tokenizer {
        guard let json = try data("tokenizer.json") else { throw PackageError.missing("tokenizer.json") }
        let tokens = manifest.tokenizer
        return try Tokenizer(
            json: json, prefixIDs: tokens.prefixIDs, suffixIDs: tokens.suffixIDs, stopIDs: tokens.stopIDs)
    }

    /// Returns the recorded measurements; nil if there are none. Throws PackageError if they are damaged.
    public func validation() throws -> Validation? {
        do {
            return try data("validation.json").map { try JSONDecoder().decode(Validation.self, from: $0) }
        } catch let error as DecodingError {
            throw PackageError.damaged(file: "validation.json", reason: reason(error))
        }
    }

    /// Returns a file's content; nil if the manifest does not name the file.
    private func data(_ name: String) throws -> Data? {
        guard manifest.files[name] != nil else { return nil }
        do {
            return try Data(contentsOf: folder.appendingPathComponent(name))
        } catch {
            throw PackageError.missing(name)
        }
    }
}
