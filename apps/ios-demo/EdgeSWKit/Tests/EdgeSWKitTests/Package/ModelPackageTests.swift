import Foundation
import Testing

@testable import EdgeSWKit

/// Reading a package that edgesw wrote.
@Suite(.enabled(if: Goldens.areGenerated, Goldens.hint))
struct ModelPackageTests {
    static let weights = "model-chunks/2-of-11.mlpackage/Data/weights ü.bin"

    /// Returns a copy of the golden package that a test may damage.
    func copy() throws -> URL {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.copyItem(at: Goldens.file("package"), to: folder)
        return folder
    }

    func edit(_ folder: URL, _ old: String, _ new: String) throws {
        let file = folder.appendingPathComponent("manifest.json")
        let text = try String(contentsOf: file, encoding: .utf8)
        try #require(text.contains(old), "'\(old)' is not in the manifest")
        try text.replacingOccurrences(of: old, with: new).write(to: file, atomically: true, encoding: .utf8)
    }

    @Test("The manifest has the values that the screens show")
    func manifest() throws {
        let package = try ModelPackage(folder: Goldens.file("package"))
        let manifest = package.manifest
        #expect(manifest.source.name == "smollm2-135m" && manifest.source.revision == nil && manifest.recipe == "smollm2-135m")
        #expect(manifest.settings.context == 2048 && manifest.settings.bits == nil)
        let model = try #require(manifest.models["coreml"]), options = try #require(manifest.coreMLOptions)
        #expect(model.path == "model-chunks" && model.files.count == 11 && model.storedBits == 4.625)
        #expect(manifest.modelBytes("coreml") == (1 << 21) + 10 * 200_000)
        #expect(options.compute == "gpu" && options.hasAblation)
        #expect(options.functions.map(\.name) == ["main", "main_uncorrected"])
        #expect(options.functions.map(\.corrected) == [true, false] && options.functions.allSatisfy { $0.lengths.isEmpty })
        #expect(manifest.superWeights == [.init(layer: 1, row: 17, column: 101, value: -1.25)])
        #expect(manifest.heldOutColumns == ["layers.1.down_proj": [101, 150]] && manifest.correctionBytes == 512)
        #expect(manifest.decoder.family == "llama" && manifest.decoder.layers == 2 && manifest.decoder.vocabSize == 49152)
        #expect(manifest.tokenizer == .init(prefixIDs: [1], suffixIDs: [], stopIDs: [2, 0]))
        #expect(try manifest.chatFormat?.prompt([.init(role: .user, content: "Hi")]).contains("Hi<|im_end|>") == true)
        #expect(try package.tokenizer().encode("Hello world").count == 3)
        #expect(try package.tokenizer().encode("Hello world", addSpecialTokens: false).count == 2)
        #expect(try package.tokenizer().stopIDs == [2, 0])
    }

    @Test("Chunks are in the order in which they run: the eleventh is not the second")
    func chunks() throws {
        let models = try ModelPackage(folder: Goldens.file("package")).coreMLModels()
        #expect(models.map(\.lastPathComponent) == (1...11).map { "\($0)-of-11.mlpackage" })
        let folder = try copy()
        defer { try? FileManager.default.removeItem(at: folder) }
        try edit(folder, "model-chunks/7-of-11", "model-chunks/7-of-12")
        #expect(throws: PackageError.self) { try ModelPackage(folder: folder).coreMLModels() }
        try edit(folder, #""coreml": {"#, #""onnx": {"#)
        #expect(throws: PackageError.noCoreMLModel) { try ModelPackage(folder: folder).coreMLModels() }
    }

    @Test("The measurements are those that edgesw wrote, and infinite values are NaN")
    func validation() throws {
        let validation = try #require(try ModelPackage(folder: Goldens.file("package")).validation())
        let good = try #require(validation.targets["coreml"]), broken = try #require(validation.uncorrected["coreml"])
        #expect(validation.windows == 2 && validation.tokensPerWindow == 51 && validation.passed)
        #expect(validation.maximumIncrease == 0.2 && validation.text == "validation text")
        #expect(good.perplexity == 10.5 && good.floatPerplexity == 10 && abs(good.increase - 0.05) < 1e-12)
        #expect(good.klDivergence == 0.0625 && good.kl99th == 0.5 && good.top1Agreement == 0.9375)
        #expect(good.top5Agreement == 0.984375 && good.passed == true && good.bytes == 4_000_000 && good.runtime == "edgesw")
        #expect(broken.perplexity.isNaN && broken.klDivergence == 3.5 && broken.passed == nil)
        #expect(validation.samples.first?.texts == ["coreml": " Paris."] && validation.samples.first?.sameTokens == ["coreml": 2])
    }

    @Test("An intact package passes, and progress goes from 0 to 1 without going back")
    func whole() throws {
        let received = Fractions()
        try ModelPackage(folder: Goldens.file("package")).verify { received.add($0) }
        let fractions = received.all
        #expect(fractions.first == 0 && fractions.last == 1 && fractions.count > 12)
        #expect(zip(fractions, fractions.dropFirst()).allSatisfy { $0 <= $1 })
    }

    @Test("A changed bit, a missing byte or a missing file: the package is refused, and the file named")
    func altered() throws {
        let folder = try copy()
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appendingPathComponent(Self.weights)
        var data = try Data(contentsOf: file)
        data[data.count / 2] ^= 4
        try data.write(to: file)
        #expect(throws: PackageError.altered(Self.weights)) { try ModelPackage(folder: folder).verify { _ in } }
        try data.dropLast().write(to: file)
        #expect(throws: PackageError.altered(Self.weights)) { try ModelPackage(folder: folder).verify { _ in } }
        try FileManager.default.removeItem(at: file)
        #expect(throws: PackageError.missing(Self.weights)) { try ModelPackage(folder: folder).verify { _ in } }
        try FileManager.default.createDirectory(at: file, withIntermediateDirectories: false)
        #expect(throws: PackageError.missing(Self.weights)) { try ModelPackage(folder: folder).verify { _ in } }
    }

    @Test("A cancelled verification ends at once, and does not report damage")
    func cancelled() async throws {
        let package = try ModelPackage(folder: Goldens.file("package"))
        let task = Task {
            while !Task.isCancelled { await Task.yield() }
            try package.verify { _ in }
        }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
    }

    @Test("Nothing outside the folder is read, whatever the manifest or a link says", arguments: [
        "../secret", "/etc/passwd", "a/../../secret", "a//b", "./a", "", "out/secret", "a/.."
    ])
    func outside(_ path: String) throws {
        let folder = try copy(), other = try copy()
        defer { [folder, other].forEach { try? FileManager.default.removeItem(at: $0) } }
        try FileManager.default.createSymbolicLink(at: folder.appendingPathComponent("out"), withDestinationURL: other)
        try edit(folder, "\"README.md\"", "\"\(path)\"")
        #expect(throws: PackageError.leadsOutside(path)) { try ModelPackage(folder: folder) }
    }

    @Test("A link out of the package is refused, a link within it is not")
    func links() throws {
        let folder = try copy()
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appendingPathComponent("README.md"), moved = folder.appendingPathComponent("moved")
        try FileManager.default.moveItem(at: file, to: moved)
        try FileManager.default.createSymbolicLink(atPath: file.path, withDestinationPath: "moved")
        try ModelPackage(folder: folder).verify { _ in }
        try FileManager.default.removeItem(at: file)
        try FileManager.default.createSymbolicLink(at: file, withDestinationURL: Goldens.file("package/README.md"))
        #expect(throws: PackageError.leadsOutside("README.md")) { try ModelPackage(folder: folder) }
    }

    @Test("Other formats and damaged manifests are reported in one line that says what to do", arguments: [
        (#""format": 8"#, #""format": 7"#, "format 7, and this app reads format 8: convert the package again"),
        (#""context": 2048"#, #""context": 0"#, "settings.context"), (#""row": 17"#, #""row": "17""#, "super_weights.0.row"),
        (#""stop_ids": ["#, #""stop_ids": [-1, "#, "tokenizer"), (#""prefix_ids""#, #""prefix""#, "prefix_ids"),
        (#""correction_bytes""#, #""correction""#, "'correction_bytes' is missing"), (#""format": 8,"#, "", "'format' is missing"),
        (#""layers": 2,"#, "", "decoder.layers"), ("{", "[", "not JSON"), (#""models": {"#, #""models": {}, "m": {"#, "models"),
        (#""bytes": "#, #""bytes": -"#, "files"), (#""bytes": "#, #""bytes": 1099511627777, "b": "#, "files"),
        (#""bytes": "#, #""bytes": 9223372036854775807, "b": "#, "files"), (#""files": ["#, #""files": ["absent", "#, "'models'"),
        (#""stored_bits""#, #""bits""#, "models.coreml.stored_bits"), (#""options": {"#, #""o": {"#, "models.coreml.options"),
        (#""functions": ["#, #""functions": [], "f": ["#, "models.coreml.options.functions"),
        (#""lengths": []"#, #""lengths": [0]"#, "models.coreml.options.functions"),
        (#""lengths": []"#, #""lengths": [99999999999999999999]"#, "manifest.json is damaged"),
        (#""lengths": []"#, #""lengths": ["1"]"#, "models.coreml.options.functions.0.lengths.0"),
        (#""corrected": true"#, #""corrected": false"#, "models.coreml.options.functions"),
        (#""name": "main_uncorrected""#, #""name": "main""#, "models.coreml.options.functions"),
    ])
    func damaged(_ old: String, _ new: String, _ words: String) throws {
        let folder = try copy()
        defer { try? FileManager.default.removeItem(at: folder) }
        try edit(folder, old, new)
        do {
            _ = try ModelPackage(folder: folder)
            Issue.record("the manifest was read")
        } catch {
            let message = (error as? PackageError)?.errorDescription ?? "\(error)"
            #expect(message.contains(words) && message.contains("convert the package again") && !message.contains("\n"), "\(message)")
        }
    }

    @Test("A function that takes more tokens than the context is refused: its padding would overwrite the caches")
    func longFunction() throws {
        let folder = try copy()
        defer { try? FileManager.default.removeItem(at: folder) }
        try edit(folder, #""lengths": []"#, #""lengths": [1024]"#)
        #expect(try ModelPackage(folder: folder).manifest.coreMLOptions?.functions[0].lengths == [1024])
        try edit(folder, #""context": 2048"#, #""context": 1023"#)
        let error = PackageError.damaged(file: "manifest.json", reason: "'models.coreml.options' is invalid")
        #expect(throws: error) { try ModelPackage(folder: folder) }
    }

    @Test("A manifest with more files than any package has is refused: the sum of their sizes could crash the app")
    func tooManyFiles() throws {
        let folder = try copy()
        defer { try? FileManager.default.removeItem(at: folder) }
        let many = (0...100_000).map { #""f\#($0)": {"sha256": "", "bytes": 1}, "# }.joined()
        try edit(folder, #""files": {"#, #""files": {"# + many)
        let error = PackageError.damaged(file: "manifest.json", reason: "'files' is invalid")
        #expect(throws: error) { try ModelPackage(folder: folder) }
    }

    @Test("A folder that is not a package, and a package without its tokenizer, have different errors")
    func noManifest() throws {
        let folder = try copy()
        defer { try? FileManager.default.removeItem(at: folder) }
        let data = folder.appendingPathComponent("model-chunks")
        #expect(throws: PackageError.noManifest("model-chunks")) { try ModelPackage(folder: data) }
        try FileManager.default.removeItem(at: folder.appendingPathComponent("tokenizer.json"))
        #expect(throws: PackageError.missing("tokenizer.json")) { try ModelPackage(folder: folder).tokenizer() }
        try Data("{".utf8).write(to: folder.appendingPathComponent("validation.json"))
        #expect(throws: PackageError.self) { try ModelPackage(folder: folder).validation() }
    }
}

/// What a progress callback received.
private final class Fractions: @unchecked Sendable {
    private let lock = NSLock()
    private var fractions: [Double] = []

    func add(_ fraction: Double) { lock.withLock { fractions.append(fraction) } }
    var all: [Double] { lock.withLock { fractions } }
}
