import Foundation

/// The folder in which the app stores packages. A package appears there only when it is complete.
public struct PackageStore: Sendable {
    public let folder: URL

    /// Writes one file to a URL and reports how many bytes have been written. If it throws, the package is not added.
    public typealias Transfer = @Sendable (_ file: PackageFile, _ target: URL, _ written: @escaping @Sendable (Int) -> Void) async throws -> Void

    public init(folder: URL) {
        self.folder = folder
    }

    /// The complete packages, sorted by name.
    public func packages() -> [URL] {
        children().filter { !$0.lastPathComponent.hasPrefix(".") && isPackage($0) }
            .sorted { $0.lastPathComponent < $1.lastPathComponent }
    }

    /// The leftovers of interrupted downloads. The same download resumes with them.
    public func unfinished() -> [URL] {
        children().filter { $0.lastPathComponent.hasSuffix(Self.partial) }
    }

    public func remove(_ package: URL) throws {
        try FileManager.default.removeItem(at: package)
    }

    /// Adds a package with these files and this manifest. `transfer` writes each file, and `progress` receives fractions
    /// from 0 to 1.
    ///
    /// With `resumable`, transferred files survive an error or a cancellation, and files that the same manifest lists and
    /// that already have their size are not transferred again. `ModelPackage.verify` checks the checksums.
    /// Throws InstallError, CancellationError and what `transfer` throws.
    public func add(
        name: String, manifest: Data, files: [PackageFile], available: Int?, resumable: Bool,
        transfer: Transfer, progress: @escaping @Sendable (Double) -> Void
    ) async throws -> URL {
        if let outside = files.first(where: { !$0.isInside }) { throw InstallError.leadsOutside(outside.path) }
        let manager = FileManager.default
        let staging = folder.appending(path: ".\(Self.folderName(name))\(Self.partial)", directoryHint: .isDirectory)
        let stagedManifest = staging.appending(path: "manifest.json")
        if (try? Data(contentsOf: stagedManifest)) != manifest { try? manager.removeItem(at: staging) }
        let missing = files.filter { size(of: staging.appending(path: $0.path)) != $0.bytes }
        let total = totalBytes(files)
        var done = total - totalBytes(missing)
        let space = SpaceRequirement(files: files, present: done, available: available)
        guard space.isMet else { throw InstallError.notEnoughSpace(needed: space.needed, available: space.available ?? 0) }
        do {
            try manager.createDirectory(at: staging, withIntermediateDirectories: true)
            try manifest.write(to: stagedManifest)
            for file in missing {
                try Task.checkCancellation()
                let target = staging.appending(path: file.path), before = done
                try? manager.removeItem(at: target)
                try manager.createDirectory(at: target.deletingLastPathComponent(), withIntermediateDirectories: true)
                try await transfer(file, target) { progress(Double(cappedSum(before, $0)) / Double(max(1, total))) }
                guard size(of: target) == file.bytes else { throw InstallError.wrongSize(file.path) }
                done = cappedSum(done, file.bytes)
                progress(Double(done) / Double(max(1, total)))
            }
            let final = unusedURL(Self.folderName(name))
            try manager.moveItem(at: staging, to: final)
            return final
        } catch {
            if !resumable { try? manager.removeItem(at: staging) }
            throw error
        }
    }

    /// Copies a file in chunks, so that progress can be shown and the copy cancelled.
    public static func copy(_ source: URL, to target: URL, written: (Int) -> Void) throws {
        let input = try FileHandle(forReadingFrom: source)
        defer { try? input.close() }
        try Data().write(to: target)
        let output = try FileHandle(forWritingTo: target)
        defer { try? output.close() }
        var done = 0
        var isAtEnd = false
        while !isAtEnd {
            try Task.checkCancellation()
            isAtEnd = try withAutoreleasePool {
                guard let chunk = try input.read(upToCount: 4 << 20), !chunk.isEmpty else { return true }
                try output.write(contentsOf: chunk)
                done += chunk.count
                written(done)
                return false
            }
        }
    }

    private static let partial = ".partial"

    /// Returns a valid name of one visible folder.
    private static func folderName(_ name: String) -> String {
        let valid = name.map { $0 == "/" || $0 == ":" || $0 == "\0" ? "-" : $0 }.drop { $0 == "." }
        return valid.isEmpty ? "package" : String(valid.prefix(80))
    }

    private func unusedURL(_ name: String) -> URL {
        var candidate = name, number = 1
        while FileManager.default.fileExists(atPath: folder.appending(path: candidate).path) {
            number += 1
            candidate = "\(name) \(number)"
        }
        return folder.appending(path: candidate, directoryHint: .isDirectory)
    }

    private func children() -> [URL] {
        (try? FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)) ?? []
    }

    private func isPackage(_ url: URL) -> Bool {
        FileManager.default.fileExists(atPath: url.appending(path: "manifest.json").path)
    }

    private func size(of url: URL) -> Int? {
        (try? url.resourceValues(forKeys: [.fileSizeKey]))?.fileSize
    }
}
