import Foundation

/// Tokens by ascending id, each with a weight.
struct Candidates {
    var ids: [Int]
    var weights: [Double]

    mutating func keep(_ wanted: (_ id: Int, _ weight: Double) -> Bool) {
        var count = 0
        for place in ids.indices where wanted(ids[place], weights[place]) {
            (ids[count], weights[count]) = (ids[place], weights[place])
            count += 1
        }
        ids.removeLast(ids.count - count)
        weights.removeLast(weights.count - count)
    }

    /// Keeps the most likely tokens until they have the share `topP` of the weights, at least one; the largest weight is
    /// 1. Of tokens alike at the border, those of lower ids.
    ///
    /// Weights are first summed in ranges of their logarithms: only the range with the border in it has to be sorted.
    mutating func keepNucleus(_ topP: Double) {
        let (ranges, width) = (1024, 1.0 / 32)
        var places = [Int](repeating: 0, count: weights.count)
        var sums = [Double](repeating: 0, count: ranges)
        for (place, weight) in weights.enumerated() {
            let depth = weight > 0 ? -log(weight) / width : .infinity
            places[place] = depth < Double(ranges - 1) ? Int(depth) : ranges - 1
            sums[places[place]] += weight
        }
        let wanted = topP * sums.reduce(0, +)
        var (border, before) = (0, 0.0)
        while border < ranges - 1, before + sums[border] < wanted {
            before += sums[border]
            border += 1
        }
        let sorted = weights.indices.filter { places[$0] == border }.sorted { (weights[$0], -$0) > (weights[$1], -$1) }
        var added = [Bool](repeating: false, count: weights.count)
        for place in sorted where before < wanted || before == 0 {
            added[place] = true
            before += weights[place]
        }
        var place = -1
        keep { _, _ in
            place += 1
            return places[place] < border || added[place]
        }
    }
}
