import Foundation
import Testing

@testable import EdgeSWKit

private struct Samplers: Decodable {
    struct Numbers: Decodable {
        let seed: String
        let numbers: [Double]
        let thousandth: Double
    }
    struct Case: Decodable {
        struct Logits: Decodable {
            let seed: UInt64
            let size: Int
            let spread, step: Double
        }
        struct Options: Decodable {
            let temperature: Double
            let topK: Int?
            let topP, minP, repetitionPenalty: Double?
            let seed: String
        }
        let logits: Logits
        let options: Options
        let tokens, drawn: [Int]
        let count, sum: Int?
        let ids: [Int]?
        let weights: [Double]?
    }
    let random: [Numbers]
    let cases: [Case]
}

extension Samplers.Case {
    /// The logits that scripts/swift_goldens/samplers.py makes of the same seed.
    var values: [Float] {
        var source = MersenneTwister(seed: logits.seed)
        return (0..<logits.size).map { _ in
            let (first, second, third) = (source.random(), source.random(), source.random())
            let value = logits.spread * (first + second + third - 1.5)
            return Float(logits.step > 0 ? (value / logits.step + 0.5).rounded(.down) * logits.step : value)
        }
    }

    var sampling: SamplingOptions {
        SamplingOptions(
            temperature: options.temperature, topK: options.topK, topP: options.topP, minP: options.minP,
            repetitionPenalty: options.repetitionPenalty, seed: UInt64(options.seed))
    }
}

@Suite("Sampling")
struct SamplerTests {
    private let golden: Samplers = try! Goldens.json("samplers.json")

    @Test("draws Python's random numbers: else a seed means another text there and here")
    func numbers() throws {
        for expected in golden.random {
            var source = MersenneTwister(seed: try #require(UInt64(expected.seed)))
            let numbers = (0..<1000).map { _ in source.random() }
            #expect(Array(numbers[..<5]) == expected.numbers)
            #expect(numbers[999] == expected.thousandth)
        }
    }

    @Test("keeps the tokens that transformers keeps, with their probabilities, and draws those that Python draws")
    func cases() {
        #expect(golden.cases.count > 300)
        for (number, expected) in golden.cases.enumerated() {
            let logits = expected.values
            var sampler = Sampler(expected.sampling)
            let drawn = expected.drawn.map { _ in sampler.next(logits, after: expected.tokens) }
            #expect(drawn == expected.drawn, "case \(number)")
            guard let count = expected.count else { continue }
            let kept = sampler.candidates(logits, after: expected.tokens)
            #expect(kept.ids.count == count && kept.ids.reduce(0, +) == expected.sum, "case \(number)")
            guard let ids = expected.ids, let weights = expected.weights else { continue }
            #expect(kept.ids == ids, "case \(number)")
            let sum = kept.weights.reduce(0, +)
            let far = zip(kept.weights, weights).contains { abs($0 / sum - $1) > 1e-12 }
            #expect(!far, "case \(number)")
        }
    }

    @Test("without a seed differs from call to call, with one does not: regenerating would otherwise say the same again")
    func seeds() {
        let logits = [Float](repeating: 0, count: 1000)
        func draws(_ seed: UInt64?) -> [Int] {
            var sampler = Sampler(SamplingOptions(temperature: 1, seed: seed))
            return (0..<8).map { _ in sampler.next(logits, after: []) }
        }
        #expect(draws(nil) != draws(nil))
        #expect(draws(3) == draws(3))
        #expect(draws(3) != draws(4))
    }

    @Test("takes the first of the most likely tokens at temperature 0, as numpy's argmax does")
    func greedy() {
        var sampler = Sampler(SamplingOptions())
        #expect(sampler.next([-3, 5, 5, 1], after: [1]) == 1)
        #expect(sampler.next([-Float.infinity, -7], after: []) == 1)
    }

    @Test("of 262,144 tokens takes milliseconds, whatever the options: it is done for every token that is written")
    func speed() throws {
        let flat = (0..<262_144).map { Float(sin(Double($0))) }
        let options = [
            SamplingOptions(temperature: 1, seed: 1), SamplingOptions(temperature: 1, topK: 40, seed: 1),
            SamplingOptions(temperature: 2, topP: 0.95, seed: 1), SamplingOptions(temperature: 1, minP: 0.05, seed: 1),
            SamplingOptions(temperature: 1, topK: 1000, topP: 0.9, minP: 0.01, repetitionPenalty: 1.1, seed: 1),
        ]
        for each in options {
            var sampler = Sampler(each)
            var fastest = Duration.seconds(60)
            #if DEBUG
            let (times, most) = (1, Duration.seconds(30))  // Swift's checks take most of it
            #else
            let (times, most) = (5, Duration.milliseconds(50))
            #endif
            for _ in 0..<times {
                fastest = min(fastest, ContinuousClock().measure { _ = sampler.next(flat, after: [1, 2, 3]) })
            }
            #expect(fastest < most, "\(each)")
        }
    }
}
