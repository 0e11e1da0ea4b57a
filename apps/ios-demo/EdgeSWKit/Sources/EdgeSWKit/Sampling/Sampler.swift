import Foundation

/// Chooses tokens by the rules of transformers' logits processors, in the order of its `generate`
/// (`_get_logits_processor` in src/transformers/generation/utils.py): repetition penalty, temperature, top-k, top-p,
/// min-p. Computes in Double. No step sorts the vocabulary, so 260,000 tokens take milliseconds.
public struct Sampler: Sendable {
    private let options: SamplingOptions
    private var generator: SplitMix64

    public init(_ options: SamplingOptions) {
        self.options = options
        generator = SplitMix64(seed: options.seed ?? UInt64.random(in: 0...UInt64.max))
    }

    /// Returns the next token. `tokens` are the prompt and what follows it, for the repetition penalty. At least one logit
    /// must be finite, and none NaN.
    public mutating func next(_ logits: [Float], after tokens: [Int]) -> Int {
        if options.temperature <= 0 {
            let penalized = penalized(tokens, logits)
            var best = 0
            var highest = -Double.infinity
            for (id, logit) in logits.enumerated() {
                let logit = penalized[id] ?? Double(logit)
                if logit > highest { (best, highest) = (id, logit) }
            }
            return best
        }
        let candidates = candidates(logits, after: tokens)
        // The first token, in the order of ids, at which the cumulative weight exceeds the drawn share of the total.
        let threshold = generator.unit() * candidates.weights.reduce(0, +)
        var sum = 0.0
        for (id, weight) in zip(candidates.ids, candidates.weights) {
            sum += weight
            if sum > threshold { return id }
        }
        return candidates.ids.last ?? 0
    }

    /// The tokens that may be chosen, in ascending order of their ids, with weights in proportion to their probabilities.
    func candidates(_ logits: [Float], after tokens: [Int]) -> Candidates {
        var scores = logits.map { Double($0) }
        for (id, logit) in penalized(tokens, logits) { scores[id] = logit }
        for id in scores.indices { scores[id] /= options.temperature }
        var candidates = Candidates(ids: Array(scores.indices), weights: scores)
        if let topK = options.topK, topK > 0, topK < scores.count {
            let lowest = smallest(ofLargest: topK, scores)
            candidates.keep { _, score in score >= lowest }
        }
        let highest = candidates.weights.max() ?? 0
        for index in candidates.weights.indices { candidates.weights[index] = exp(candidates.weights[index] - highest) }
        if let topP = options.topP, topP < 1 { candidates.keepNucleus(topP) }
        if let minP = options.minP { candidates.keep { _, weight in weight >= min(minP, 1) } }
        return candidates
    }

    /// The logits that the repetition penalty changes, by token.
    private func penalized(_ tokens: [Int], _ logits: [Float]) -> [Int: Double] {
        guard let penalty = options.repetitionPenalty, penalty != 1 else { return [:] }
        var changed: [Int: Double] = [:]
        for id in tokens where logits.indices.contains(id) {
            let logit = Double(logits[id])
            changed[id] = logit < 0 ? logit * penalty : logit / penalty
        }
        return changed
    }
}

/// Returns the smallest of the `count` largest values. They are in a heap whose root is the smallest, so that most values
/// are only compared with the root.
private func smallest(ofLargest count: Int, _ values: [Double]) -> Double {
    var heap = Array(values[..<count])
    func siftDown(_ start: Int) {
        var index = start
        while 2 * index + 1 < count {
            var child = 2 * index + 1
            if child + 1 < count, heap[child + 1] < heap[child] { child += 1 }
            if heap[index] <= heap[child] { return }
            heap.swapAt(index, child)
            index = child
        }
    }
    for index in stride(from: count / 2 - 1, through: 0, by: -1) { siftDown(index) }
    for value in values[count...] where value > heap[0] {
        heap[0] = value
        siftDown(0)
    }
    return heap[0]
}
