// Not on Macs with Intel processors: Swift has no Float16 there.
#if canImport(CoreML) && !((os(macOS) || targetEnvironment(macCatalyst)) && arch(x86_64))
@preconcurrency import CoreML
import Foundation

/// Runs the Core ML models of a package, in all the layouts that docs/formats.md lists. It has not run on a device yet.
public actor CoreMLEngine: InferenceEngine {
    public let context: Int
    public private(set) var count = 0

    private let layout: CoreMLLayout
    /// The number of tokens that the model has a row for. The tokenizer may have more.
    private let vocabularySize: Int
    /// The loaded model of each chunk, by function.
    private let models: [String: [MLModel]]
    /// The state of each chunk, which all functions share.
    private var states: [MLState]

    /// Compiles the models that are not in `cache` yet, and loads them; `progress` goes from 0 to 1.
    ///
    /// `corrected` false loads the functions without the correction (what is held out). `units` nil means the compute units
    /// that the package is made for. Throws `PackageError`, `EngineError` or CancellationError.
    public init(
        package: ModelPackage, corrected: Bool = true, units: MLComputeUnits? = nil, cache: URL,
        progress: @Sendable (Double) -> Void
    ) async throws {
        let layout = try CoreMLLayout(package.manifest, corrected: corrected)
        let chunks = try package.coreMLModels()
        let functions = layout.functions.map(\.name)
        let steps = Double(chunks.count * (functions.count + 1))
        var (models, done): ([String: [MLModel]], Double) = ([:], 0)
        progress(0)
        for chunk in chunks {
            let loader = CoreMLLoader(package: package, model: chunk, cache: CompiledModels(folder: cache))
            try await loader.compile()
            done += 1
            progress(done / steps)
            for function in functions {
                try Task.checkCancellation()
                let name = layout.hasSeveralFunctions ? function : nil
                models[function, default: []].append(try await loader.load(name, units ?? layout.units))
                done += 1
                progress(done / steps)
            }
        }
        try Task.checkCancellation()  // also during the last load: nobody may need the engine any more
        self.layout = layout
        vocabularySize = package.manifest.decoder.vocabSize
        self.models = models
        context = layout.context
        states = (models[functions[0]] ?? []).map { $0.makeState() }
    }

    public func logits(after tokens: [Int]) async throws -> [Float] {
        guard !tokens.isEmpty else { throw GenerationError.emptyPrompt }
        guard count + tokens.count <= context else {
            throw GenerationError.promptTooLong(tokens: count + tokens.count, context: context)
        }
        if let unknown = tokens.first(where: { !(0..<vocabularySize).contains($0) }) {
            throw GenerationError.unknownToken(unknown)  // what a model answers to one is undefined
        }
        do {
            var logits: MLMultiArray?
            for call in layout.calls(feeding: tokens, after: count) {
                logits = try run(call)
                count = call.end
            }
            guard let logits else { throw EngineError.damaged("logits") }
            return try lastRow(logits)
        } catch {
            reset()  // chunks before the one that failed have already read the tokens
            throw error as? EngineError ?? EngineError.cannotRun(error.localizedDescription)
        }
    }

    public func rewind(to count: Int) async throws {
        guard count < self.count else { return }
        guard layout.canRewind, count > 0 else { return reset() }
        self.count = count
        guard layout.takesAnyLength else { return }  // programs of fixed lengths receive the position in every call
        let values = HalfPrecision.tokenCount(count)
        for state in states {
            state.withMultiArray(for: "tokenCount") { array in
                array.withUnsafeMutableBytes { bytes, strides in
                    for (index, value) in values.enumerated() {
                        bytes.storeBytes(of: value, toByteOffset: 2 * index * strides[0], as: Float16.self)
                    }
                }
            }
        }
    }

    private func reset() {
        let first = models[layout.functions[0].name] ?? []
        states = []  // first, so that old and new states are never in memory together
        states = first.map { $0.makeState() }
        count = 0
    }

    /// Runs a call through all chunks and returns the logits. Each chunk receives those inputs that it declares.
    private func run(_ call: CoreMLCall) throws -> MLMultiArray {
        var inputs = try inputs(of: call)
        for (model, state) in zip(models[call.function] ?? [], states) {
            let names = model.modelDescription.inputDescriptionsByName
            let features = try MLDictionaryFeatureProvider(dictionary: inputs.filter { names[$0.key] != nil })
            let output = try model.prediction(from: features, using: state)
            if let logits = output.featureValue(for: "logits")?.multiArrayValue { return logits }
            inputs["hiddenStates"] = output.featureValue(for: "nextHiddenStates")?.multiArrayValue
        }
        throw EngineError.damaged("logits")
    }

    private func inputs(of call: CoreMLCall) throws -> [String: MLMultiArray] {
        var inputs = ["inputIds": try array([1, call.ids.count], call.ids)]
        if layout.takesAnyLength {
            // The mask's length keeps the program from attending to empty slots of the caches.
            let mask = try MLMultiArray(shape: [1, 1, 1, NSNumber(value: call.end)], dataType: .float16)
            mask.withUnsafeMutableBytes { bytes, _ in _ = bytes.initializeMemory(as: UInt8.self, repeating: 0) }
            inputs["causalMask"] = mask
        } else {
            inputs["position"] = try array([1], [Int32(call.position)])
            inputs["last"] = try array([1], [Int32(call.last)])
        }
        return inputs
    }

    private func array(_ shape: [Int], _ values: [Int32]) throws -> MLMultiArray {
        let array = try MLMultiArray(shape: shape.map { NSNumber(value: $0) }, dataType: .int32)
        array.withUnsafeMutableBytes { bytes, _ in values.withUnsafeBytes { bytes.copyMemory(from: $0) } }
        return array
    }

    /// Returns the last token's row of logits (1, tokens, vocabulary), which are float16.
    private func lastRow(_ logits: MLMultiArray) throws -> [Float] {
        let (shape, strides) = (logits.shape.map(\.intValue), logits.strides.map(\.intValue))
        guard shape.count == 3, shape[1] > 0, logits.dataType == .float16 else {
            throw EngineError.damaged("logits of float16 (1, tokens, vocabulary)")
        }
        return try logits.withUnsafeBytes { bytes in
            guard let first = bytes.bindMemory(to: Float16.self).baseAddress else {
                throw EngineError.damaged("logits")
            }
            return HalfPrecision.floats(first + (shape[1] - 1) * strides[1], count: shape[2], stride: strides[2])
        }
    }
}
#endif
