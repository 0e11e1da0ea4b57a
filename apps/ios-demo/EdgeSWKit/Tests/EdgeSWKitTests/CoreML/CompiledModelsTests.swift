import Foundation
import Testing

@testable import EdgeSWKit

@Suite("Compiled models")
struct CompiledModelsTests {
    private let files = [
        "model.mlpackage/Manifest.json": "11", "model.mlpackage/Data/model.mlmodel": "aa",
        "model.mlpackage/Data/weights/weight.bin": "bb", "model.mlpackage2/x.bin": "cc", "tokenizer.json": "dd",
    ]

    @Test("are found by their content: another model has another URL")
    func urls() {
        let compiled = CompiledModels(folder: URL(fileURLWithPath: "/cache"))
        #expect(compiled.url(of: "model.mlpackage", files: files)?.path == "/cache/aa-bb.mlmodelc")
        #expect(compiled.url(of: "other.mlpackage", files: files) == nil)
        let changed = files.merging(["model.mlpackage/Data/weights/weight.bin": "be"]) { $1 }
        #expect(compiled.url(of: "model.mlpackage", files: changed)?.path == "/cache/aa-be.mlmodelc")
    }

    @Test("are compiled once, and again after a failure")
    func once() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("compiled-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        let compiled = CompiledModels(folder: folder.appendingPathComponent("cache"))
        let url = try #require(compiled.url(of: "model.mlpackage", files: files))
        struct Failed: Error {}
        await #expect(throws: Failed.self) { _ = try await compiled.model(at: url) { throw Failed() } }
        var times = 0
        for _ in 0..<3 {
            let found = try await compiled.model(at: url) {
                times += 1
                let made = folder.appendingPathComponent("made")
                try FileManager.default.createDirectory(at: made, withIntermediateDirectories: true)
                return made
            }
            #expect(found == url && FileManager.default.fileExists(atPath: url.path))
        }
        #expect(times == 1)
    }
}
