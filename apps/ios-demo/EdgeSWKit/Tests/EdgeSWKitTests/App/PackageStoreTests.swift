import Foundation
import Testing

@testable import EdgeSWKit

private let manifest = Data(#"{"format": 8}"#.utf8)
private let files = [PackageFile(path: "tokenizer.json", bytes: 4), PackageFile(path: "model.mlpackage/Data/weight.bin", bytes: 6)]

/// Serves files, and records which were requested.
private actor Server {
    private(set) var requested: [String] = []
    private var broken: Set<String>

    init(broken: Set<String> = []) {
        self.broken = broken
    }

    func content(of file: PackageFile) throws -> Data {
        requested.append(file.path)
        if broken.remove(file.path) != nil { throw URLError(.networkConnectionLost) }
        return Data(repeating: 1, count: file.bytes)
    }
}

@Suite("The folder of packages")
struct PackageStoreTests {
    private let store = PackageStore(
        folder: FileManager.default.temporaryDirectory.appending(path: "store-\(UUID().uuidString)", directoryHint: .isDirectory))

    private func add(
        _ name: String = "tiny", files: [PackageFile] = files, from server: Server = Server(), available: Int? = nil,
        resumable: Bool = true, cut: Int = 0, manifest: Data = manifest
    ) async throws -> URL {
        try await store.add(
            name: name, manifest: manifest, files: files, available: available, resumable: resumable,
            transfer: { file, target, written in
                let content = try await server.content(of: file)
                try content.dropLast(cut).write(to: target)
                written(content.count)
            }, progress: { #expect((0...1).contains($0)) })
    }

    @Test("A package appears when it is complete, with every file in its place")
    func whole() async throws {
        defer { try? store.remove(store.folder) }
        let package = try await add()
        #expect(store.packages().map(\.lastPathComponent) == ["tiny"] && store.unfinished().isEmpty)
        #expect(try Data(contentsOf: package.appending(path: "manifest.json")) == manifest)
        #expect(try Data(contentsOf: package.appending(path: "model.mlpackage/Data/weight.bin")).count == 6)
        let second = try await add()
        #expect(second.lastPathComponent == "tiny 2", "another package of the same name must not replace the first")
        try store.remove(package)
        #expect(store.packages().map(\.lastPathComponent) == ["tiny 2"])
    }

    @Test("An interrupted download resumes with the files it has, and never looks like a package")
    func resumed() async throws {
        defer { try? store.remove(store.folder) }
        let server = Server(broken: ["model.mlpackage/Data/weight.bin"])
        await #expect(throws: URLError.self) { try await add(from: server) }
        #expect(store.packages().isEmpty && store.unfinished().count == 1)
        _ = try await add(from: server)
        #expect(await server.requested == ["tokenizer.json", "model.mlpackage/Data/weight.bin", "model.mlpackage/Data/weight.bin"])
        #expect(store.unfinished().isEmpty)
    }

    @Test("Another package of the same name does not resume with the first one's files")
    func otherManifest() async throws {
        defer { try? store.remove(store.folder) }
        await #expect(throws: URLError.self) { try await add(from: Server(broken: ["model.mlpackage/Data/weight.bin"])) }
        let server = Server()
        _ = try await add(from: server, manifest: Data(#"{"format": 8, "other": 1}"#.utf8))
        #expect(await server.requested.count == 2)
    }

    @Test("A copy from Files that fails leaves nothing behind: gigabytes would be invisible to the user")
    func failedCopy() async throws {
        defer { try? store.remove(store.folder) }
        await #expect(throws: URLError.self) { try await add(from: Server(broken: ["tokenizer.json"]), resumable: false) }
        #expect(store.packages().isEmpty && store.unfinished().isEmpty)
    }

    @Test("An incomplete file is reported by name, not discovered while chatting")
    func cutFile() async throws {
        defer { try? store.remove(store.folder) }
        await #expect(throws: InstallError.wrongSize("tokenizer.json")) { try await add(cut: 1) }
    }

    @Test("A cancelled installation leaves nothing that looks like a package")
    func cancelled() async throws {
        defer { try? store.remove(store.folder) }
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await add()
        }
        await #expect(throws: CancellationError.self) { _ = try await task.value }
        #expect(store.packages().isEmpty)
    }

    @Test("A manifest whose paths lead out of the package writes nothing anywhere",
          arguments: ["../evil", "/etc/passwd", "a/../../evil", "", "a//b", "./a", "a\0b"])
    func outside(path: String) async throws {
        defer { try? store.remove(store.folder) }
        await #expect(throws: InstallError.leadsOutside(path)) { try await add(files: [PackageFile(path: path, bytes: 1)]) }
        #expect(!FileManager.default.fileExists(atPath: store.folder.path))
    }

    @Test("A name that is not valid for a folder cannot lead elsewhere either", arguments: ["../up", "a/b", "...", ""])
    func names(name: String) async throws {
        defer { try? store.remove(store.folder) }
        let package = try await add(name)
        #expect(package.deletingLastPathComponent().standardizedFileURL.path == store.folder.standardizedFileURL.path)
        #expect(store.packages().count == 1)
    }

    @Test("Too little disk space is reported before gigabytes are copied, with the space that is needed")
    func space() async throws {
        defer { try? store.remove(store.folder) }
        let server = Server()
        await #expect(throws: InstallError.notEnoughSpace(needed: 20, available: 200_000_019)) {
            try await add(from: server, available: 200_000_019)
        }
        #expect(await server.requested.isEmpty)
        _ = try await add(available: 200_000_020)
        #expect(SpaceRequirement(files: files, present: 4, available: 0).needed == 16)
        #expect(SpaceRequirement(files: files, available: nil).isMet, "if the system does not report the free space, the copy is tried")
        let text = try #require(InstallError.notEnoughSpace(needed: 1_300_000_000, available: 94_800_000).errorDescription)
        #expect(text.contains("1.5 GB") && text.contains("94.8 MB"))
    }

    @Test("Sizes whose sum exceeds Int are too large, and do not crash the app")
    func absurdSizes() async throws {
        defer { try? store.remove(store.folder) }
        let files = ["a", "b", "c"].map { PackageFile(path: $0, bytes: .max) }
        for count in 1...3 {
            let space = SpaceRequirement(files: Array(files.prefix(count)), available: .max)
            #expect(space.needed == .max && !space.isMet)
        }
        let error = InstallError.notEnoughSpace(needed: .max, available: 1 << 40)
        await #expect(throws: error) { try await add(files: files, available: 1 << 40) }
        #expect(error.errorDescription?.contains("GB") == true)
    }

    @Test("Copies in chunks have the same bytes, and report their progress")
    func copies() throws {
        defer { try? store.remove(store.folder) }
        try FileManager.default.createDirectory(at: store.folder, withIntermediateDirectories: true)
        let source = store.folder.appending(path: "source"), target = store.folder.appending(path: "target")
        let content = Data((0..<9_000_001).map { UInt8(truncatingIfNeeded: $0 &* 31) })
        try content.write(to: source)
        var reported: [Int] = []
        try PackageStore.copy(source, to: target) { reported.append($0) }
        #expect(try Data(contentsOf: target) == content)
        #expect(reported.last == content.count && reported.count == 3)
    }
}
