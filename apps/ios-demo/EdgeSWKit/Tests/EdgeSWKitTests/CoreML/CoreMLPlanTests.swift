import Foundation
import Testing

@testable import EdgeSWKit

@Suite("Core ML calls")
struct CoreMLPlanTests {
    private struct Case: Decodable {
        struct Call: Decodable {
            let function: String
            let first, real, length: Int
            let position, last, kvLength: Int?
        }
        let manifest: String
        let functions: [String]
        let fed: [Int]
        let calls: [Call]
    }

    @Test("are those of edgesw's own runtime, for every form: another position or padding, and the caches hold nonsense")
    func calls() throws {
        let cases: [Case] = try Goldens.json("coreml.json")
        #expect(cases.count > 80)
        for expected in cases {
            let form = try Self.form(manifest: expected.manifest)
            #expect(form.functions(corrected: true).sorted() == expected.functions.sorted())
            #expect(form.hasSeveralFunctions == (expected.functions.count > 1))
            var (made, count): ([CoreMLCall], Int) = ([], 0)
            for fed in expected.fed {
                made += form.calls(feeding: Array(count + 1...count + fed), after: count, corrected: true)
                count += fed
            }
            #expect(made.count == expected.calls.count, "\(expected.manifest) \(expected.fed)")
            for (ours, theirs) in zip(made, expected.calls) {
                let ids = (theirs.first..<theirs.first + theirs.real).map { Int32($0) }
                #expect(ours.function == theirs.function)
                #expect(ours.ids == ids + [Int32](repeating: 0, count: theirs.length - theirs.real))
                #expect(ours.position == theirs.first - 1 && theirs.position ?? ours.position == ours.position)
                #expect(ours.last == theirs.real - 1 && theirs.last ?? ours.last == ours.last)
                #expect(ours.end == theirs.kvLength ?? ours.end)
            }
        }
    }

    private func form(_ settings: String, windows: String = "[null]") throws -> CoreMLForm {
        try Self.form(manifest: #"{"settings": {\#(settings)}, "decoder": {"layer_windows": \#(windows)}}"#)
    }

    /// Of a manifest that has no more than what calls depend on.
    private static func form(manifest: String) throws -> CoreMLForm {
        struct Content: Decodable {
            struct Settings: Decodable {
                let form: Manifest.Form
                let context: Int
            }
            struct Decoder: Decodable { let layerWindows: [Int?] }
            let settings: Settings
            let decoder: Decoder
        }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let found = try decoder.decode(Content.self, from: Data(manifest.utf8))
        return CoreMLForm(found.settings.form, context: found.settings.context, windows: found.decoder.layerWindows)
    }

    @Test("without the correction go to the functions that lack it, and to no other")
    func uncorrected() throws {
        let fixed = try form(#""form": {"compute": "ane", "lengths": [1, 64], "ablation": true}, "context": 128"#)
        #expect(fixed.ablation && fixed.hasSeveralFunctions)
        #expect(fixed.functions(corrected: false).sorted() == ["decode_uncorrected", "prefill_uncorrected"])
        let names = fixed.calls(feeding: Array(1...65), after: 0, corrected: false).map(\.function)
        #expect(names == ["prefill_uncorrected", "decode_uncorrected"])
        let any = try form(#""form": {"compute": "gpu", "lengths": [], "ablation": true}, "context": 4096"#)
        #expect(any.hasSeveralFunctions && any.functions(corrected: false) == ["main_uncorrected"])
        let long = any.calls(feeding: Array(0..<1100), after: 7, corrected: false)
        #expect(long.map(\.ids.count) == [512, 512, 76] && long.map(\.position) == [7, 519, 1031])
    }

    @Test("cannot be taken back where a layer has a window shorter than the context")
    func windows() throws {
        let settings = #""form": {"compute": "gpu", "lengths": [], "ablation": false}, "context": 128"#
        #expect(try form(settings).canRewind)
        #expect(try form(settings, windows: "[null, 128, 4096]").canRewind)
        #expect(try !form(settings, windows: "[null, 127]").canRewind)
    }

    @Test("are read from a manifest that edgesw convert --compute ane wrote, and its chat form too")
    func converted() throws {
        let manifest = try JSONDecoder().decode(Manifest.self, from: Goldens.data("generation/manifest.json"))
        let form = try CoreMLForm(manifest)
        #expect(form.functions(corrected: true) == ["decode", "prefill"])
        #expect(form.compute == "ane" && form.lengths == [1, 64] && form.context == 96 && form.canRewind)
        let compiled = CompiledModels(folder: URL(fileURLWithPath: "/cache"))
        let model = try #require(manifest.models["coreml"])
        let url = try #require(compiled.url(of: model, files: manifest.files.mapValues(\.sha256)))
        #expect(url.lastPathComponent.count == 32 + 1 + 32 + ".mlmodelc".count, "of program and weights")
        let said = [ChatMessage(role: .system, content: "s"), ChatMessage(role: .user, content: "u")]
        #expect(try manifest.chat?.prompt(said) == "[system] s\n[user] u\n[assistant]")
    }

    @Test("of a package without a Core ML form are not made up")
    func noForm() throws {
        #expect(throws: DecodingError.self) { try form(#""context": 128"#) }
        let whole = try String(decoding: Goldens.data("generation/manifest.json"), as: UTF8.self)
        let without = whole.replacingOccurrences(of: #""form":"#, with: #""another":"#)
        let manifest = try JSONDecoder().decode(Manifest.self, from: Data(without.utf8))
        #expect(throws: EngineError.noModel("manifest.json does not say its form")) { try CoreMLForm(manifest) }
    }
}
