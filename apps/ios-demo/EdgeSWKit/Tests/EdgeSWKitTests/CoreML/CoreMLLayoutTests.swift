import Foundation
import Testing

@testable import EdgeSWKit

@Suite("Core ML calls")
struct CoreMLLayoutTests {
    private struct Case: Decodable {
        struct Call: Decodable {
            let function: String
            let first, real, length: Int
            let position, last, kvLength: Int?
        }
        let manifest: String
        let corrected: Bool
        let functions: [String]
        let fed: [Int]
        let calls: [Call]
    }

    @Test("equal those of edgesw's own runtime in every layout: with other positions or padding, the caches would be wrong")
    func calls() throws {
        let cases: [Case] = try Goldens.json("coreml.json")
        #expect(cases.count > 100)
        for expected in cases {
            let layout = try Self.layout(manifest: expected.manifest, corrected: expected.corrected)
            #expect(layout.functions.map(\.name) == expected.functions)
            var (calls, count): ([CoreMLCall], Int) = ([], 0)
            for fed in expected.fed {
                calls += layout.calls(feeding: Array(count + 1...count + fed), after: count)
                count += fed
            }
            #expect(calls.count == expected.calls.count, "\(expected.manifest) \(expected.fed)")
            for (call, reference) in zip(calls, expected.calls) {
                let ids = (reference.first..<reference.first + reference.real).map { Int32($0) }
                #expect(call.function == reference.function)
                #expect(call.ids == ids + [Int32](repeating: 0, count: reference.length - reference.real))
                #expect(call.position == reference.first - 1 && reference.position ?? call.position == call.position)
                #expect(call.last == reference.real - 1 && reference.last ?? call.last == call.last)
                #expect(call.end == reference.kvLength ?? call.end)
            }
        }
    }

    private static let ane = """
        {"compute": "ane", "functions": [
        {"name": "decode", "lengths": [1], "corrected": true}, {"name": "prefill", "lengths": [64], "corrected": true},
        {"name": "one", "lengths": [1], "corrected": false}, {"name": "many", "lengths": [64], "corrected": false}]}
        """
    private static let gpu = """
        {"compute": "gpu", "functions": [
        {"name": "main", "lengths": [], "corrected": true}, {"name": "bare", "lengths": [], "corrected": false}]}
        """

    private func layout(
        _ options: String, corrected: Bool, context: Int = 128, windows: String = "[null]"
    ) throws -> CoreMLLayout {
        let decoder = #"{"layer_windows": \#(windows)}"#
        return try Self.layout(
            manifest: """
                {"models": {"coreml": {"options": \(options)}}, "settings": {"context": \(context)}, "decoder": \(decoder)}
                """, corrected: corrected)
    }

    /// The layout of a manifest that contains only what calls depend on.
    private static func layout(manifest: String, corrected: Bool) throws -> CoreMLLayout {
        struct Content: Decodable {
            struct Models: Decodable { let coreml: Model }
            struct Model: Decodable { let options: CoreMLOptions }
            struct Settings: Decodable { let context: Int }
            struct Decoder: Decodable { let layerWindows: [Int?] }
            let models: Models
            let settings: Settings
            let decoder: Decoder
        }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let content = try decoder.decode(Content.self, from: Data(manifest.utf8))
        return CoreMLLayout(
            content.models.coreml.options, corrected: corrected, context: content.settings.context,
            windows: content.decoder.layerWindows)
    }

    @Test("without the correction use only the functions that the manifest lists without it, whatever their names")
    func uncorrected() throws {
        let fixed = try layout(Self.ane, corrected: false)
        #expect(fixed.hasSeveralFunctions && !fixed.takesAnyLength && fixed.functions.map(\.name) == ["one", "many"])
        #expect(fixed.calls(feeding: Array(1...65), after: 0).map(\.function) == ["many", "one"])
        let any = try layout(Self.gpu, corrected: false, context: 4096)
        #expect(any.hasSeveralFunctions && any.takesAnyLength && any.functions.map(\.name) == ["bare"])
        let long = any.calls(feeding: Array(0..<1100), after: 7)
        #expect(long.map(\.ids.count) == [512, 512, 76] && long.map(\.position) == [7, 519, 1031])
        #expect(long.allSatisfy { $0.function == "bare" })
        #expect(try layout(Self.gpu, corrected: true).calls(feeding: [1], after: 0).map(\.function) == ["main"])
    }

    @Test("cannot be taken back if a layer's window is shorter than the context")
    func windows() throws {
        #expect(try layout(Self.gpu, corrected: true).canRewind)
        #expect(try layout(Self.gpu, corrected: true, windows: "[null, 128, 4096]").canRewind)
        #expect(try !layout(Self.gpu, corrected: true, windows: "[null, 127]").canRewind)
    }

    @Test("of an only function leave its name out when it is loaded")
    func onlyFunction() throws {
        let only = #"{"compute": "cpu", "functions": [{"name": "main", "lengths": [1, 16], "corrected": true}]}"#
        #expect(try !layout(only, corrected: true).hasSeveralFunctions)
    }

    @Test("follow the manifest of a package that edgesw convert --compute ane wrote, which has its chat format too")
    func converted() throws {
        let manifest = try JSONDecoder().decode(Manifest.self, from: Goldens.data("generation/manifest.json"))
        let layout = try CoreMLLayout(manifest, corrected: true)
        #expect(layout.functions.map(\.name) == ["decode", "prefill"] && layout.functions.map(\.lengths) == [[1], [64]])
        #expect(layout.compute == "ane" && layout.context == 96 && layout.canRewind)
        #expect(throws: EngineError.noUncorrectedFunctions) { try CoreMLLayout(manifest, corrected: false) }
        let compiled = CompiledModels(folder: URL(fileURLWithPath: "/cache"))
        let model = try #require(manifest.models["coreml"])
        let url = try #require(compiled.url(of: model.path, files: manifest.files.mapValues(\.sha256)))
        #expect(url.lastPathComponent.count == 32 + 1 + 32 + ".mlmodelc".count, "of program and weights")
        #expect(model.files.count == 3 && model.files.allSatisfy { $0.hasPrefix("model.mlpackage/") })
        #expect(manifest.modelBytes("coreml") == model.files.reduce(0) { $0 + manifest.files[$1]!.bytes })
        let messages = [ChatMessage(role: .system, content: "s"), ChatMessage(role: .user, content: "u")]
        #expect(try manifest.chatFormat?.prompt(messages) == "[system] s\n[user] u\n[assistant]")
    }

    @Test("do not exist for a package without a Core ML model")
    func noModel() throws {
        let text = try String(decoding: Goldens.data("generation/manifest.json"), as: UTF8.self)
        let other = text.replacingOccurrences(of: #""coreml":"#, with: #""another":"#)
        let manifest = try JSONDecoder().decode(Manifest.self, from: Data(other.utf8))
        #expect(manifest.coreMLOptions == nil && manifest.modelBytes("coreml") == 0)
        #expect(throws: EngineError.noModel("manifest.json names none")) { try CoreMLLayout(manifest, corrected: true) }
    }

    @Test("are not made from functions that edgesw does not write: they could crash the app or fill its memory", arguments: [
        "[]", #"[["main", [], false]]"#, #"[["main", [], true], ["more", [], true]]"#, #"[["main", [], true], ["main", [1], false]]"#,
        #"[["", [], true]]"#, #"[["a", [1], true], ["b", [1], true]]"#, #"[["a", [1], true], ["b", [], true]]"#,
        #"[["a", [0], true]]"#, #"[["a", [-1], true]]"#, #"[["a", [64, 1], true]]"#, #"[["a", [1, 1], true]]"#,
        #"[["a", [1025], true]]"#, #"[["a", [9223372036854775807], true]]"#, #"[["a", [1.5], true]]"#, #"[["a", ["1"], true]]"#,
        #"[["a", [1], true], ["b", [64], false], ["c", [], false]]"#, #"[["a", [1], null]]"#,
    ])
    func invalid(_ functions: String) throws {
        #expect(throws: DecodingError.self) { try Self.options(functions) }
    }

    @Test("are not made from more functions than edgesw writes")
    func tooMany() throws {
        func list(_ count: Int) -> String {
            "[" + (0..<count).map { #"["\#($0)", [\#($0 % 1024 + 1)], \#($0 < 1024)]"# }.joined(separator: ", ") + "]"
        }
        #expect(try Self.options(list(2048)).functions.count == 2048)
        #expect(throws: DecodingError.self) { try Self.options(list(2049)) }
    }

    /// Options with these functions, each a list of name, lengths and whether it has the correction.
    private static func options(_ functions: String) throws -> CoreMLOptions {
        let lists = try #require(JSONSerialization.jsonObject(with: Data(functions.utf8)) as? [[Any]])
        let entries = lists.map { ["name": $0[0], "lengths": $0[1], "corrected": $0[2]] }
        let options: [String: Any] = ["compute": "gpu", "functions": entries]
        return try JSONDecoder().decode(CoreMLOptions.self, from: JSONSerialization.data(withJSONObject: options))
    }
}
