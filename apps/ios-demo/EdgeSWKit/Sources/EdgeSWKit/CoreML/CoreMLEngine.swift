#if canImport(CoreML)
@preconcurrency import CoreML
import Foundation

/// Runs the Core ML models of a package, in all the forms that docs/formats.md lists. Not run on a device yet.
public actor CoreMLEngine: InferenceEngine {
    public let context: Int
    public private(set) var count = 0

    private let form: CoreMLForm
    private let corrected: Bool
    /// Function -> the model of each chunk.
    private let models: [String: [MLModel]]
    /// Of each chunk: all functions share them.
    private var states: [MLState]

    /// Compiles what `cache` does not hold yet and loads it; `progress` goes from 0 to 1.
    ///
    /// `corrected` false takes the functions without what was held out. `units` nil: those that the package is made for.
    /// Throws `PackageError`, `EngineError` or CancellationError.
    public init(
        package: ModelPackage, corrected: Bool = true, units: MLComputeUnits? = nil, cache: URL,
        progress: @Sendable (Double) -> Void
    ) async throws {
        let form = try CoreMLForm(package.manifest)
        guard corrected || form.ablation else { throw EngineError.noUncorrectedFunctions }
        let chunks = try package.coreMLModels()
        let functions = form.functions(corrected: corrected)
        let steps = Double(chunks.count * (functions.count + 1))
        var (models, done): ([String: [MLModel]], Double) = ([:], 0)
        progress(0)
        for chunk in chunks {
            let loader = CoreMLLoader(package: package, model: chunk, compiled: CompiledModels(folder: cache))
            try await loader.compile()
            done += 1
            progress(done / steps)
            for function in functions {
                try Task.checkCancellation()
                let name = form.hasSeveralFunctions ? function : nil
                models[function, default: []].append(try await loader.load(name, units ?? form.units))
                done += 1
                progress(done / steps)
            }
        }
        try Task.checkCancellation()  // the last load takes its time too, and nobody may want the engine any more
        self.form = form
        self.corrected = corrected
        self.models = models
        context = form.context
        states = (models[functions[0]] ?? []).map { $0.makeState() }
    }

    public func logits(after tokens: [Int]) async throws -> [Float] {
        guard !tokens.isEmpty else { throw GenerationError.emptyPrompt }
        guard count + tokens.count <= context else {
            throw GenerationError.promptTooLong(tokens: count + tokens.count, context: context)
        }
        do {
            var logits: MLMultiArray?
            for call in form.calls(feeding: tokens, after: count, corrected: corrected) {
                logits = try run(call)
                count = call.end
            }
            guard let logits else { throw EngineError.damaged("logits") }
            return try lastRow(logits)
        } catch {
            reset()  // chunks before the one that failed have read the tokens already
            throw error as? EngineError ?? EngineError.cannotRun(error.localizedDescription)
        }
    }

    public func rewind(to count: Int) async throws {
        guard count < self.count else { return }
        guard form.canRewind, count > 0 else { return reset() }
        self.count = count
        guard form.lengths.isEmpty else { return }  // these are told the position in every call
        let halves = Half.tokenCount(count)
        for state in states {
            state.withMultiArray(for: "tokenCount") { array in
                array.withUnsafeMutableBytes { bytes, strides in
                    for (place, half) in halves.enumerated() {
                        bytes.storeBytes(of: half, toByteOffset: 2 * place * strides[0], as: UInt16.self)
                    }
                }
            }
        }
    }

    private func reset() {
        let first = models[form.functions(corrected: corrected)[0]] ?? []
        states = []  // before the new ones, so that both are never there at once
        states = first.map { $0.makeState() }
        count = 0
    }

    /// The logits of a call, through all chunks: each is given those of the inputs that it has.
    private func run(_ call: CoreMLCall) throws -> MLMultiArray {
        var given = try inputs(of: call)
        for (model, state) in zip(models[call.function] ?? [], states) {
            let names = model.modelDescription.inputDescriptionsByName
            let features = try MLDictionaryFeatureProvider(dictionary: given.filter { names[$0.key] != nil })
            let output = try model.prediction(from: features, using: state)
            if let logits = output.featureValue(for: "logits")?.multiArrayValue { return logits }
            given["hiddenStates"] = output.featureValue(for: "nextHiddenStates")?.multiArrayValue
        }
        throw EngineError.damaged("logits")
    }

    private func inputs(of call: CoreMLCall) throws -> [String: MLMultiArray] {
        var given = ["inputIds": try array([1, call.ids.count], call.ids)]
        if form.lengths.isEmpty {
            // Its length keeps the program from looking at slots that are empty yet.
            let mask = try MLMultiArray(shape: [1, 1, 1, NSNumber(value: call.end)], dataType: .float16)
            mask.withUnsafeMutableBytes { bytes, _ in _ = bytes.initializeMemory(as: UInt8.self, repeating: 0) }
            given["causalMask"] = mask
        } else {
            given["position"] = try array([1], [Int32(call.position)])
            given["last"] = try array([1], [Int32(call.last)])
        }
        return given
    }

    private func array(_ shape: [Int], _ values: [Int32]) throws -> MLMultiArray {
        let made = try MLMultiArray(shape: shape.map { NSNumber(value: $0) }, dataType: .int32)
        made.withUnsafeMutableBytes { bytes, _ in values.withUnsafeBytes { bytes.copyMemory(from: $0) } }
        return made
    }

    /// The last token's row of logits (1, tokens, vocabulary), float16.
    private func lastRow(_ logits: MLMultiArray) throws -> [Float] {
        let (shape, strides) = (logits.shape.map(\.intValue), logits.strides.map(\.intValue))
        guard shape.count == 3, shape[1] > 0, logits.dataType == .float16 else {
            throw EngineError.damaged("logits of float16 (1, tokens, vocabulary)")
        }
        return try logits.withUnsafeBytes { bytes in
            guard let first = bytes.bindMemory(to: UInt16.self).baseAddress else {
                throw EngineError.damaged("logits")
            }
            return Half.floats(first + (shape[1] - 1) * strides[1], count: shape[2], stride: strides[2])
        }
    }
}
#endif
