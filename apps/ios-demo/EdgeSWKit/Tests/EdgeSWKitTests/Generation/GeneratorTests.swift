import Foundation
import Testing

@testable import EdgeSWKit

@Suite("Generation")
struct GeneratorTests {
    let recording: Recording
    let tokenizer: Tokenizer

    init() throws {
        recording = try Recording.load()
        tokenizer = try Recording.tokenizer()
    }

    func options(_ most: Int, chunk: Int = 64, stop: [String] = []) -> GenerationOptions {
        GenerationOptions(maximumTokens: most, stopSequences: stop, promptChunk: chunk)
    }

    @Test("writes what edgesw generate writes, whatever the prompt's chunks", arguments: [1, 5, 64])
    func greedy(chunk: Int) async throws {
        for expected in recording.cases {
            let engine = try ScriptedEngine(recording)
            let generator = Generator(engine: engine, tokenizer: tokenizer)
            let stream = await generator.generate(prompt: expected.prompt, options: options(expected.most, chunk: chunk))
            let events = try await Events(stream)
            #expect(Array(events.text.utf8) == Array(expected.text.utf8))
            #expect(await engine.cache == expected.fed)
            #expect(await engine.calls.allSatisfy { $0.count <= chunk })
            #expect(events.metrics.promptTokens == expected.ids.count)
            #expect(events.metrics.generatedTokens == expected.tokens.count)
            #expect(events.metrics.reusedTokens == 0)
            let full = expected.ids.count + expected.most > recording.context
            #expect(events.reason == (full ? .contextFull : .maximumTokens))
            #expect(events.progress.first == 0 && events.progress.last == expected.ids.count)
            #expect(events.progress == events.progress.sorted())
        }
    }

    @Test("feeds only what is not in the cache: otherwise every answer would wait until the whole chat was read again")
    func reuse() async throws {
        let (first, second) = (recording.cases[0], recording.cases[1])
        let engine = try ScriptedEngine(recording)
        let generator = Generator(engine: engine, tokenizer: tokenizer)
        _ = try await Events(generator.generate(prompt: first.prompt, options: options(first.most)))
        let common = zip(first.fed, second.ids).prefix { $0 == $1 }.count
        #expect(common > first.ids.count, "the recording's second prompt does not continue the first answer")
        for reused in [common, second.ids.count - 1] {
            let before = await engine.calls.count
            let events = try await Events(generator.generate(prompt: second.prompt, options: options(second.most)))
            #expect(events.text == second.text)
            #expect(events.metrics.reusedTokens == reused)
            #expect(events.progress.first == reused)
            #expect(await engine.calls[before] == Array(second.ids[reused...]))
        }
    }

    @Test("starts over if a package cannot remove tokens from its cache")
    func noRewind() async throws {
        let (first, third) = (recording.cases[0], recording.cases[2])
        let engine = try ScriptedEngine(recording, rewinds: false)
        let generator = Generator(engine: engine, tokenizer: tokenizer)
        for expected in [first, third, first] {
            let events = try await Events(generator.generate(prompt: expected.prompt, options: options(expected.most)))
            #expect(events.text == expected.text)
            #expect(events.metrics.reusedTokens == 0)
        }
    }

    @Test("ends at a token that ends a text, and does not show it")
    func endOfText() async throws {
        let expected = recording.cases[2]
        let end = try #require(expected.tokens.dropFirst(6).first { token in
            expected.tokens.firstIndex(of: token)! >= 6
        })
        let written = expected.tokens.prefix { $0 != end }
        let ending = try Recording.tokenizer(eos: end)
        let engine = try ScriptedEngine(recording)
        let generator = Generator(engine: engine, tokenizer: ending)
        let events = try await Events(generator.generate(prompt: expected.prompt, options: options(60)))
        #expect(events.reason == .endOfText)
        #expect(events.text == tokenizer.decode(Array(written)))
        #expect(events.metrics.generatedTokens == written.count)
        #expect(await engine.cache == expected.ids + written)
    }

    @Test("refuses empty prompts and prompts that leave no room, in one clear line, and answers the next one")
    func refused() async throws {
        let generator = Generator(engine: try ScriptedEngine(recording), tokenizer: tokenizer)
        await #expect(throws: GenerationError.emptyPrompt) {
            try await Events(generator.generate(prompt: "", addSpecialTokens: false, options: options(4)))
        }
        let long = String(repeating: "x", count: 95)
        let tooLong = GenerationError.promptTooLong(tokens: tokenizer.encode(long).count, context: 96)
        await #expect(throws: tooLong) { try await Events(generator.generate(prompt: long, options: options(4))) }
        #expect(tooLong.errorDescription?.contains("96 tokens and this package holds 96") == true)
        let events = try await Events(generator.generate(prompt: recording.cases[0].prompt, options: options(24)))
        #expect(events.text == recording.cases[0].text)
    }

    @Test("does not trust the cache after an engine's error, and passes the error on")
    func engineFails() async throws {
        let generator = Generator(engine: try ScriptedEngine(recording, failingCall: 3), tokenizer: tokenizer)
        let expected = recording.cases[0]
        await #expect(throws: ScriptedEngine.Unknown.self) {
            try await Events(generator.generate(prompt: expected.prompt, options: options(24, chunk: 3)))
        }
        let events = try await Events(generator.generate(prompt: expected.prompt, options: options(24)))
        #expect(events.text == expected.text && events.metrics.reusedTokens == 0)
    }

    @Test("reports logits that are not numbers, and does not write what they would choose", arguments: [
        Float.nan, .infinity,
    ])
    func notANumber(_ value: Float) async throws {
        let engine = try ScriptedEngine(recording)
        let expected = recording.cases[0]
        await engine.spoil(expected.ids + [expected.tokens[0]], with: value)
        let generator = Generator(engine: engine, tokenizer: tokenizer)
        await #expect(throws: GenerationError.notANumber) {
            try await Events(generator.generate(prompt: expected.prompt, options: options(24)))
        }
    }

    @Test("treats a logit of minus infinity as a token that is never chosen, not as damage")
    func impossibleToken() async throws {
        let engine = try ScriptedEngine(recording)
        let expected = recording.cases[0]
        try #require(expected.tokens[1] != 7)
        await engine.spoil(expected.ids + [expected.tokens[0]], with: -.infinity)
        let generator = Generator(engine: engine, tokenizer: tokenizer)
        let events = try await Events(generator.generate(prompt: expected.prompt, options: options(24)))
        #expect(events.text == expected.text)
    }

    @Test("measures the prompt's time apart from the answer's")
    func metrics() async throws {
        let engine = try ScriptedEngine(recording, delay: .milliseconds(4))
        let expected = recording.cases[1]
        let generator = Generator(engine: engine, tokenizer: tokenizer)
        let events = try await Events(generator.generate(prompt: expected.prompt, options: options(24, chunk: 1)))
        let first = try #require(events.metrics.timeToFirstToken)
        let speed = try #require(events.metrics.tokensPerSecond)
        #expect(first >= .milliseconds(4 * expected.ids.count))
        #expect(speed > 0 && speed < 250, "a token takes at least 4 ms")
    }
}
