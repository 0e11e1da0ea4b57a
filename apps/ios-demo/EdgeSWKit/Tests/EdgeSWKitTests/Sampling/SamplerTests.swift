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
    /// The logits that scripts/swift_goldens/samplers.py generates from the same seed.
    var values: [Float] {
        var source = SplitMix64(seed: logits.seed)
        return (0..<logits.size).map { _ in
            let (first, second, third) = (source.unit(), source.unit(), source.unit())
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

    @Test("draws SplitMix64's numbers on every system: otherwise a seed would not repeat an answer")
    func numbers() throws {
        var published = SplitMix64(seed: 1_234_567)  // of the authors' C program, as Rosetta Code lists them
        let first = (0..<5).map { _ in published.next() }
        #expect(
            first == [
                6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423, 4_593_380_528_125_082_431,
                16_408_922_859_458_223_821,
            ])
        for expected in golden.random {
            var source = SplitMix64(seed: try #require(UInt64(expected.seed)))
            let numbers = (0..<1000).map { _ in source.unit() }
            #expect(Array(numbers[..<5]) == expected.numbers)
            #expect(numbers[999] == expected.thousandth)
        }
    }

    @Test("keeps the same tokens as transformers, with the same probabilities, and draws the same ones as Python")
    func cases() {
        #expect(golden.cases.count > 300)
        for (number, expected) in golden.cases.enumerated() {
            let logits = expected.values
            var sampler = Sampler(expected.sampling)
            let drawn = expected.drawn.map { _ in sampler.next(logits, after: expected.tokens) }
            #expect(drawn == expected.drawn, "case \(number)")
            guard let count = expected.count else { continue }
            let candidates = sampler.candidates(logits, after: expected.tokens)
            #expect(candidates.ids.count == count && candidates.ids.reduce(0, +) == expected.sum, "case \(number)")
            guard let ids = expected.ids, let weights = expected.weights else { continue }
            #expect(candidates.ids == ids, "case \(number)")
            let sum = candidates.weights.reduce(0, +)
            let differs = zip(candidates.weights, weights).contains { abs($0 / sum - $1) > 1e-12 }
            #expect(!differs, "case \(number)")
        }
    }

    @Test("varies without a seed, and repeats itself with one: regenerating an answer would otherwise give the same text")
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

    @Test("takes the first of the most likely tokens at temperature 0, like numpy's argmax")
    func greedy() {
        var sampler = Sampler(SamplingOptions())
        #expect(sampler.next([-3, 5, 5, 1], after: [1]) == 1)
        #expect(sampler.next([-Float.infinity, -7], after: []) == 1)
    }

    @Test("takes milliseconds for 262,144 tokens, whatever the options: it runs for every token")
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
            let (times, limit) = (1, Duration.seconds(30))  // mostly Swift's own checks
            #else
            let (times, limit) = (5, Duration.milliseconds(50))
            #endif
            for _ in 0..<times {
                fastest = min(fastest, ContinuousClock().measure { _ = sampler.next(flat, after: [1, 2, 3]) })
            }
            #expect(fastest < limit, "\(each)")
        }
    }
}
