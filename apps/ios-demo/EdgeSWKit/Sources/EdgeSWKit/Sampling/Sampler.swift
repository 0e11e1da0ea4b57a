import Foundation

/// Chooses tokens by the rules of transformers' logits processors, in the order of its `generate`
/// (`_get_logits_processor` in src/transformers/generation/utils.py): repetition penalty, temperature, top-k, top-p,
/// min-p. Computes in Double; no step sorts the vocabulary, so 260,000 tokens take milliseconds.
public struct Sampler: Sendable {
    private let options: SamplingOptions
    private var generator: MersenneTwister

    public init(_ options: SamplingOptions) {
        self.options = options
        generator = MersenneTwister(seed: options.seed ?? UInt64.random(in: 0...UInt64.max))
    }

    /// The next token. `tokens`: the prompt and what came after it, for the repetition penalty. Logits must hold a
    /// finite number and no NaN.
    public mutating func next(_ logits: [Float], after tokens: [Int]) -> Int {
        if options.temperature <= 0 {
            let changed = penalised(tokens, logits)
            var best = 0
            var highest = -Double.infinity
            for (id, logit) in logits.enumerated() {
                let logit = changed[id] ?? Double(logit)
                if logit > highest { (best, highest) = (id, logit) }
            }
            return best
        }
        let kept = candidates(logits, after: tokens)
        // The first token, in the order of ids, at which the summed weights pass the drawn share of their sum.
        let drawn = generator.random() * kept.weights.reduce(0, +)
        var sum = 0.0
        for (id, weight) in zip(kept.ids, kept.weights) {
            sum += weight
            if sum > drawn { return id }
        }
        return kept.ids.last ?? 0
    }

    /// The tokens that may be chosen, by ascending id, with weights in proportion to their probabilities.
    func candidates(_ logits: [Float], after tokens: [Int]) -> Candidates {
        var scores = logits.map { Double($0) }
        for (id, logit) in penalised(tokens, logits) { scores[id] = logit }
        for id in scores.indices { scores[id] /= options.temperature }
        var kept = Candidates(ids: Array(scores.indices), weights: scores)
        if let topK = options.topK, topK > 0, topK < scores.count {
            let lowest = smallest(ofLargest: topK, scores)
            kept.keep { _, score in score >= lowest }
        }
        let highest = kept.weights.max() ?? 0
        for place in kept.weights.indices { kept.weights[place] = exp(kept.weights[place] - highest) }
        if let topP = options.topP, topP < 1 { kept.keepNucleus(topP) }
        if let minP = options.minP { kept.keep { _, weight in weight >= min(minP, 1) } }
        return kept
    }

    private func penalised(_ tokens: [Int], _ logits: [Float]) -> [Int: Double] {
        guard let penalty = options.repetitionPenalty, penalty != 1 else { return [:] }
        var changed: [Int: Double] = [:]
        for id in tokens where logits.indices.contains(id) {
            let logit = Double(logits[id])
            changed[id] = logit < 0 ? logit * penalty : logit / penalty
        }
        return changed
    }
}

/// The smallest of the `count` largest values: a heap of them whose root is the smallest, so that most values are only
/// compared with it.
private func smallest(ofLargest count: Int, _ values: [Double]) -> Double {
    var heap = Array(values[..<count])
    func sink(_ start: Int) {
        var at = start
        while 2 * at + 1 < count {
            var child = 2 * at + 1
            if child + 1 < count, heap[child + 1] < heap[child] { child += 1 }
            if heap[at] <= heap[child] { return }
            heap.swapAt(at, child)
            at = child
        }
    }
    for at in stride(from: count / 2 - 1, through: 0, by: -1) { sink(at) }
    for value in values[count...] where value > heap[0] {
        heap[0] = value
        sink(0)
    }
    return heap[0]
}
