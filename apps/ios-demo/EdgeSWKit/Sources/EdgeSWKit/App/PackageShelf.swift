import Foundation

/// The folder in which the app keeps packages: each appears there only when it is whole.
public struct PackageShelf: Sendable {
    public let folder: URL

    /// Puts one file at a URL, telling how many bytes of it have been written. It may throw; then the package is not added.
    public typealias Place = @Sendable (_ file: PackageFile, _ target: URL, _ written: @escaping @Sendable (Int) -> Void) async throws -> Void

    public init(folder: URL) {
        self.folder = folder
    }

    /// Packages that are whole, by name.
    public func packages() -> [URL] {
        children().filter { !$0.lastPathComponent.hasPrefix(".") && isPackage($0) }
            .sorted { $0.lastPathComponent < $1.lastPathComponent }
    }

    /// What an interrupted download has left; the same download goes on with it.
    public func unfinished() -> [URL] {
        children().filter { $0.lastPathComponent.hasSuffix(Self.partial) }
    }

    public func remove(_ package: URL) throws {
        try FileManager.default.removeItem(at: package)
    }

    /// Adds a package of these files and this manifest. `place` brings each file, `progress` hears shares from 0 to 1.
    ///
    /// With `resumable`, what has arrived outlives an error or a cancellation, and files that the same manifest lists and
    /// that have their size already are not asked for again. Checksums are for `ModelPackage.verify`.
    /// Throws InstallError, CancellationError and what `place` throws.
    public func add(
        name: String, manifest: Data, files: [PackageFile], available: Int?, resumable: Bool,
        place: Place, progress: @escaping @Sendable (Double) -> Void
    ) async throws -> URL {
        if let outside = files.first(where: { !$0.isInside }) { throw InstallError.leadsOutside(outside.path) }
        let manager = FileManager.default
        let staging = folder.appending(path: ".\(Self.plain(name))\(Self.partial)", directoryHint: .isDirectory)
        let kept = staging.appending(path: "manifest.json")
        if (try? Data(contentsOf: kept)) != manifest { try? manager.removeItem(at: staging) }
        let missing = files.filter { size(of: staging.appending(path: $0.path)) != $0.bytes }
        let total = totalBytes(files)
        var done = total - totalBytes(missing)
        let room = RoomPlan(files: files, present: done, available: available)
        guard room.fits else { throw InstallError.noRoom(needed: room.needed, available: room.available ?? 0) }
        do {
            try manager.createDirectory(at: staging, withIntermediateDirectories: true)
            try manifest.write(to: kept)
            for file in missing {
                try Task.checkCancellation()
                let target = staging.appending(path: file.path), before = done
                try? manager.removeItem(at: target)
                try manager.createDirectory(at: target.deletingLastPathComponent(), withIntermediateDirectories: true)
                try await place(file, target) { progress(Double(cappedSum(before, $0)) / Double(max(1, total))) }
                guard size(of: target) == file.bytes else { throw InstallError.wrongSize(file.path) }
                done = cappedSum(done, file.bytes)
                progress(Double(done) / Double(max(1, total)))
            }
            let final = free(Self.plain(name))
            try manager.moveItem(at: staging, to: final)
            return final
        } catch {
            if !resumable { try? manager.removeItem(at: staging) }
            throw error
        }
    }

    /// Copies a file piece by piece, so that a large one can be followed and cancelled.
    public static func copy(_ source: URL, to target: URL, written: (Int) -> Void) throws {
        let input = try FileHandle(forReadingFrom: source)
        defer { try? input.close() }
        try Data().write(to: target)
        let output = try FileHandle(forWritingTo: target)
        defer { try? output.close() }
        var done = 0
        var isMore = true
        while isMore {
            try Task.checkCancellation()
            isMore = try pooled {
                guard let piece = try input.read(upToCount: 4 << 20), !piece.isEmpty else { return false }
                try output.write(contentsOf: piece)
                done += piece.count
                written(done)
                return true
            }
        }
    }

    private static let partial = ".partial"

    /// A name that is one folder's, visible, whatever it was derived from.
    private static func plain(_ name: String) -> String {
        let kept = name.map { $0 == "/" || $0 == ":" || $0 == "\0" ? "-" : $0 }.drop { $0 == "." }
        return kept.isEmpty ? "package" : String(kept.prefix(80))
    }

    private func free(_ name: String) -> URL {
        var open = name, number = 1
        while FileManager.default.fileExists(atPath: folder.appending(path: open).path) {
            number += 1
            open = "\(name) \(number)"
        }
        return folder.appending(path: open, directoryHint: .isDirectory)
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
