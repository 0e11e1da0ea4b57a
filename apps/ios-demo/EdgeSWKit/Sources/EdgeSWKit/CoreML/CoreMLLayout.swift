/// How the functions of a package's Core ML models are called, as manifest.json says (docs/formats.md).
struct CoreMLLayout: Equatable, Sendable {
    /// The compute units that the package is made for: gpu, ane, cpu or all.
    let compute: String
    /// The functions to load: those with the correction, or those without it.
    let functions: [CoreMLOptions.Function]
    /// Whether the models contain several functions, so that one has to be named when it is loaded.
    let hasSeveralFunctions: Bool
    /// The largest number of tokens that the caches hold.
    let context: Int
    /// Whether the newest tokens can be removed from the caches: not if a layer's cache holds only the last tokens.
    let canRewind: Bool
    /// The names of the functions by the numbers of tokens that they take; empty if one function takes any number.
    private let names: [Int: String]
    private let lengths: [Int]

    /// The largest number of tokens in a call of a function that takes any number. It limits the memory of the logits.
    static let longest = 512

    /// Throws EngineError for a package without a Core ML model, or without the functions that are wanted.
    init(_ manifest: Manifest, corrected: Bool) throws {
        guard let options = manifest.coreMLOptions else { throw EngineError.noModel("manifest.json names none") }
        guard corrected || options.hasAblation else { throw EngineError.noUncorrectedFunctions }
        self.init(
            options, corrected: corrected, context: manifest.settings.context, windows: manifest.decoder.layerWindows)
    }

    init(_ options: CoreMLOptions, corrected: Bool, context: Int, windows: [Int?]) {
        compute = options.compute
        functions = options.functions.filter { $0.corrected == corrected }
        hasSeveralFunctions = options.functions.count > 1
        self.context = context
        canRewind = windows.allSatisfy { $0.map { $0 >= context } ?? true }
        let pairs = functions.flatMap { function in function.lengths.map { ($0, function.name) } }
        names = Dictionary(pairs) { first, _ in first }
        lengths = names.keys.sorted()
    }

    /// Whether one function takes any number of tokens, and counts them itself.
    var takesAnyLength: Bool { lengths.isEmpty }

    /// Returns the calls that append tokens to a cache of `count` tokens. There are as few calls as possible: the longest
    /// ones first, then the shortest that holds the rest, padded with zeros.
    func calls(feeding tokens: [Int], after count: Int) -> [CoreMLCall] {
        var (calls, index): ([CoreMLCall], Int) = ([], 0)
        while index < tokens.count {
            let rest = tokens[index...]
            let length = takesAnyLength
                ? min(rest.count, Self.longest) : lengths.first { $0 >= rest.count } ?? lengths[lengths.count - 1]
            let fed = rest.prefix(length).map { Int32($0) }
            let padding = [Int32](repeating: 0, count: length - fed.count)
            let name = names[length] ?? functions[0].name
            calls.append(CoreMLCall(function: name, ids: fed + padding, position: count + index, last: fed.count - 1))
            index += fed.count
        }
        return calls
    }
}

/// One call of a function.
struct CoreMLCall: Equatable, Sendable {
    let function: String
    /// The tokens, padded with zeros.
    let ids: [Int32]
    /// The number of tokens before them.
    let position: Int
    /// The index, within this call, of the last token that is not padding.
    let last: Int

    /// The number of tokens in the caches after the call.
    var end: Int { position + last + 1 }
}
