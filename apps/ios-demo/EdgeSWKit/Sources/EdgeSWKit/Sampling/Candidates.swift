import Foundation

/// Tokens in ascending order of their ids, each with a weight.
struct Candidates {
    var ids: [Int]
    var weights: [Double]

    mutating func keep(_ isKept: (_ id: Int, _ weight: Double) -> Bool) {
        var count = 0
        for index in ids.indices where isKept(ids[index], weights[index]) {
            (ids[count], weights[count]) = (ids[index], weights[index])
            count += 1
        }
        ids.removeLast(ids.count - count)
        weights.removeLast(weights.count - count)
    }

    /// Keeps the most likely tokens, at least one, until they have the share `topP` of the total weight. The largest weight
    /// must be 1. Of equally likely tokens at the boundary, those with lower ids are kept.
    ///
    /// Weights are first summed in bins of their logarithms, so that only the bin with the boundary has to be sorted.
    mutating func keepNucleus(_ topP: Double) {
        let (binCount, width) = (1024, 1.0 / 32)
        var bins = [Int](repeating: 0, count: weights.count)
        var sums = [Double](repeating: 0, count: binCount)
        for (index, weight) in weights.enumerated() {
            let depth = weight > 0 ? -log(weight) / width : .infinity
            bins[index] = depth < Double(binCount - 1) ? Int(depth) : binCount - 1
            sums[bins[index]] += weight
        }
        let target = topP * sums.reduce(0, +)
        var (boundary, total) = (0, 0.0)
        while boundary < binCount - 1, total + sums[boundary] < target {
            total += sums[boundary]
            boundary += 1
        }
        let sorted = weights.indices.filter { bins[$0] == boundary }.sorted { (weights[$0], -$0) > (weights[$1], -$1) }
        var isAdded = [Bool](repeating: false, count: weights.count)
        for index in sorted where total < target || total == 0 {
            isAdded[index] = true
            total += weights[index]
        }
        var index = -1
        keep { _, _ in
            index += 1
            return bins[index] < boundary || isAdded[index]
        }
    }
}
