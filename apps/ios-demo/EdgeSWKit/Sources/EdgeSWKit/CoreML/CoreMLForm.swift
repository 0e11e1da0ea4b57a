/// How a package's Core ML models are shaped and called, as manifest.json says it (docs/formats.md).
struct CoreMLForm: Equatable, Sendable {
    /// The units that the package is made for: gpu, ane, cpu or all.
    let compute: String
    /// How many tokens its functions take at once, ascending; none: any number.
    let lengths: [Int]
    /// Most tokens that the caches hold.
    let context: Int
    /// Whether each function is there a second time without what was held out.
    let ablation: Bool
    /// Whether the newest tokens can be taken back: not where a layer keeps only the last tokens.
    let canRewind: Bool

    /// Most tokens in a call of a program that takes any number: it bounds the logits in memory.
    static let longest = 512

    /// Throws EngineError for a manifest without the form of a Core ML package.
    init(_ manifest: Manifest) throws {
        guard let form = manifest.settings.form else { throw EngineError.noModel("manifest.json does not say its form") }
        self.init(form, context: manifest.settings.context, windows: manifest.decoder.layerWindows)
    }

    init(_ form: Manifest.Form, context: Int, windows: [Int?]) {
        compute = form.compute
        lengths = form.lengths.filter { $0 > 0 }.sorted()
        ablation = form.ablation
        self.context = context
        canRewind = windows.allSatisfy { $0.map { $0 >= context } ?? true }
    }

    /// The names of the functions to load, with or without what was held out.
    func functions(corrected: Bool) -> [String] {
        let names = lengths.isEmpty ? ["main"] : lengths.map(function(taking:))
        return names.reduce(into: []) { unique, name in
            let full = name + (corrected ? "" : "_uncorrected")
            if !unique.contains(full) { unique.append(full) }
        }
    }

    /// Whether a package holds several functions, so that one has to be named when it is loaded.
    var hasSeveralFunctions: Bool { ablation || functions(corrected: true).count > 1 }

    /// The calls that feed tokens behind `count` others. As few as can be: as long as possible, the rest in the
    /// shortest that holds it, filled up with zeros.
    func calls(feeding tokens: [Int], after count: Int, corrected: Bool) -> [CoreMLCall] {
        var (calls, at): ([CoreMLCall], Int) = ([], 0)
        while at < tokens.count {
            let rest = tokens[at...]
            let length = lengths.isEmpty
                ? min(rest.count, Self.longest) : lengths.first { $0 >= rest.count } ?? lengths[lengths.count - 1]
            let fed = rest.prefix(length).map { Int32($0) }
            let padding = [Int32](repeating: 0, count: length - fed.count)
            let name = (lengths.isEmpty ? "main" : function(taking: length)) + (corrected ? "" : "_uncorrected")
            calls.append(CoreMLCall(function: name, ids: fed + padding, position: count + at, last: fed.count - 1))
            at += fed.count
        }
        return calls
    }

    private func function(taking length: Int) -> String {
        if compute == "gpu" || compute == "cpu" { return "main" }
        if length == 1 { return "decode" }
        return lengths.filter { $0 > 1 }.count == 1 ? "prefill" : "prefill_\(length)"
    }
}

/// One call of a function.
struct CoreMLCall: Equatable, Sendable {
    let function: String
    /// The tokens, and zeros behind them to fill up.
    let ids: [Int32]
    /// How many tokens came before.
    let position: Int
    /// The number within this call of the last token that is none to fill up.
    let last: Int

    /// How many tokens the caches hold after it.
    var end: Int { position + last + 1 }
}
