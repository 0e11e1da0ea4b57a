import Foundation
import Testing

@testable import EdgeSWKit

private let manifest = Data(#"{"format": 5}"#.utf8)
private let files = [PackageFile(path: "tokenizer.json", bytes: 4), PackageFile(path: "model.mlpackage/Data/weight.bin", bytes: 6)]

/// Which files were asked for, and what they hold.
private actor Shop {
    private(set) var asked: [String] = []
    private var broken: Set<String>

    init(broken: Set<String> = []) {
        self.broken = broken
    }

    func content(of file: PackageFile) throws -> Data {
        asked.append(file.path)
        if broken.remove(file.path) != nil { throw URLError(.networkConnectionLost) }
        return Data(repeating: 1, count: file.bytes)
    }
}

@Suite("The folder of packages")
struct PackageShelfTests {
    private let shelf = PackageShelf(
        folder: FileManager.default.temporaryDirectory.appending(path: "shelf-\(UUID().uuidString)", directoryHint: .isDirectory))

    private func add(
        _ name: String = "tiny", files: [PackageFile] = files, from shop: Shop = Shop(), available: Int? = nil,
        resumable: Bool = true, cut: Int = 0, manifest: Data = manifest
    ) async throws -> URL {
        try await shelf.add(
            name: name, manifest: manifest, files: files, available: available, resumable: resumable,
            place: { file, target, written in
                let content = try await shop.content(of: file)
                try content.dropLast(cut).write(to: target)
                written(content.count)
            }, progress: { #expect((0...1).contains($0)) })
    }

    @Test("A package is there when it is whole, with every file in its place")
    func whole() async throws {
        defer { try? shelf.remove(shelf.folder) }
        let package = try await add()
        #expect(shelf.packages().map(\.lastPathComponent) == ["tiny"] && shelf.unfinished().isEmpty)
        #expect(try Data(contentsOf: package.appending(path: "manifest.json")) == manifest)
        #expect(try Data(contentsOf: package.appending(path: "model.mlpackage/Data/weight.bin")).count == 6)
        let second = try await add()
        #expect(second.lastPathComponent == "tiny 2", "another package of the same name must not replace the first")
        try shelf.remove(package)
        #expect(shelf.packages().map(\.lastPathComponent) == ["tiny 2"])
    }

    @Test("A download that broke off goes on with what it has, and never looks like a package")
    func resumed() async throws {
        defer { try? shelf.remove(shelf.folder) }
        let shop = Shop(broken: ["model.mlpackage/Data/weight.bin"])
        await #expect(throws: URLError.self) { try await add(from: shop) }
        #expect(shelf.packages().isEmpty && shelf.unfinished().count == 1)
        _ = try await add(from: shop)
        #expect(await shop.asked == ["tokenizer.json", "model.mlpackage/Data/weight.bin", "model.mlpackage/Data/weight.bin"])
        #expect(shelf.unfinished().isEmpty)
    }

    @Test("Another package under the same name does not go on with the first one's files")
    func otherManifest() async throws {
        defer { try? shelf.remove(shelf.folder) }
        await #expect(throws: URLError.self) { try await add(from: Shop(broken: ["model.mlpackage/Data/weight.bin"])) }
        let shop = Shop()
        _ = try await add(from: shop, manifest: Data(#"{"format": 5, "other": 1}"#.utf8))
        #expect(await shop.asked.count == 2)
    }

    @Test("A copy from Files that fails leaves nothing behind: gigabytes that nobody sees")
    func failedCopy() async throws {
        defer { try? shelf.remove(shelf.folder) }
        await #expect(throws: URLError.self) { try await add(from: Shop(broken: ["tokenizer.json"]), resumable: false) }
        #expect(shelf.packages().isEmpty && shelf.unfinished().isEmpty)
    }

    @Test("A file that did not arrive whole is told by name, not found out while chatting")
    func cutFile() async throws {
        defer { try? shelf.remove(shelf.folder) }
        await #expect(throws: InstallError.wrongSize("tokenizer.json")) { try await add(cut: 1) }
    }

    @Test("A cancelled installation is an end, not an error half-way that looks like a package")
    func cancelled() async throws {
        defer { try? shelf.remove(shelf.folder) }
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await add()
        }
        await #expect(throws: CancellationError.self) { _ = try await task.value }
        #expect(shelf.packages().isEmpty)
    }

    @Test("A manifest whose paths lead out of the package writes nothing anywhere",
          arguments: ["../evil", "/etc/passwd", "a/../../evil", "", "a//b", "./a", "a\0b"])
    func outside(path: String) async throws {
        defer { try? shelf.remove(shelf.folder) }
        await #expect(throws: InstallError.leadsOutside(path)) { try await add(files: [PackageFile(path: path, bytes: 1)]) }
        #expect(!FileManager.default.fileExists(atPath: shelf.folder.path))
    }

    @Test("A name that is no folder's name cannot lead elsewhere either", arguments: ["../up", "a/b", "...", ""])
    func names(name: String) async throws {
        defer { try? shelf.remove(shelf.folder) }
        let package = try await add(name)
        #expect(package.deletingLastPathComponent().standardizedFileURL.path == shelf.folder.standardizedFileURL.path)
        #expect(shelf.packages().count == 1)
    }

    @Test("Too little room is said before gigabytes are copied, with what is needed")
    func room() async throws {
        defer { try? shelf.remove(shelf.folder) }
        let shop = Shop()
        await #expect(throws: InstallError.noRoom(needed: 20, available: 200_000_019)) {
            try await add(from: shop, available: 200_000_019)
        }
        #expect(await shop.asked.isEmpty)
        _ = try await add(available: 200_000_020)
        #expect(RoomPlan(files: files, present: 4, available: 0).needed == 16)
        #expect(RoomPlan(files: files, available: nil).fits, "where the system does not say, trying is right")
        let text = try #require(InstallError.noRoom(needed: 1_300_000_000, available: 94_800_000).errorDescription)
        #expect(text.contains("1.5 GB") && text.contains("94.8 MB"))
    }

    @Test("Sizes that no Int holds the sum of are too large, and do not end the app")
    func absurdSizes() async throws {
        defer { try? shelf.remove(shelf.folder) }
        let files = ["a", "b", "c"].map { PackageFile(path: $0, bytes: .max) }
        for count in 1...3 {
            let room = RoomPlan(files: Array(files.prefix(count)), available: .max)
            #expect(room.needed == .max && !room.fits)
        }
        let error = InstallError.noRoom(needed: .max, available: 1 << 40)
        await #expect(throws: error) { try await add(files: files, available: 1 << 40) }
        #expect(error.errorDescription?.contains("GB") == true)
    }

    @Test("Piecewise copies are the same bytes, and say how far they are")
    func copies() throws {
        defer { try? shelf.remove(shelf.folder) }
        try FileManager.default.createDirectory(at: shelf.folder, withIntermediateDirectories: true)
        let source = shelf.folder.appending(path: "source"), target = shelf.folder.appending(path: "target")
        let content = Data((0..<9_000_001).map { UInt8(truncatingIfNeeded: $0 &* 31) })
        try content.write(to: source)
        var told: [Int] = []
        try PackageShelf.copy(source, to: target) { told.append($0) }
        #expect(try Data(contentsOf: target) == content)
        #expect(told.last == content.count && told.count == 3)
    }
}
