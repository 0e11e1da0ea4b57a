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

    @Test("writes what edgesw generate writes, in whatever pieces the prompt is fed", arguments: [1, 5, 64])
    func greedy(chunk: Int) async throws {
        for expected in recording.cases {
            let engine = try ScriptedEngine(recording)
            let generator = Generator(engine: engine, tokenizer: tokenizer)
            let stream = await generator.generate(prompt: expected.prompt, options: options(expected.most, chunk: chunk))
            let told = try await Told(stream)
            #expect(Array(told.text.utf8) == Array(expected.text.utf8))
            #expect(await engine.cache == expected.fed)
            #expect(await engine.calls.allSatisfy { $0.count <= chunk })
            #expect(told.metrics.promptTokens == expected.ids.count)
            #expect(told.metrics.generatedTokens == expected.tokens.count)
            #expect(told.metrics.reusedTokens == 0)
            let full = expected.ids.count + expected.most > recording.context
            #expect(told.reason == (full ? .contextFull : .maximumTokens))
            #expect(told.progress.first == 0 && told.progress.last == expected.ids.count)
            #expect(told.progress == told.progress.sorted())
        }
    }

    @Test("feeds only what is not in the cache yet: else every answer waits for the whole chat to be read again")
    func reuse() async throws {
        let (first, second) = (recording.cases[0], recording.cases[1])
        let engine = try ScriptedEngine(recording)
        let generator = Generator(engine: engine, tokenizer: tokenizer)
        _ = try await Told(generator.generate(prompt: first.prompt, options: options(first.most)))
        let common = zip(first.fed, second.ids).prefix { $0 == $1 }.count
        #expect(common > first.ids.count, "the recording's second prompt does not go on from the first answer")
        for reused in [common, second.ids.count - 1] {
            let before = await engine.calls.count
            let told = try await Told(generator.generate(prompt: second.prompt, options: options(second.most)))
            #expect(told.text == second.text)
            #expect(told.metrics.reusedTokens == reused)
            #expect(told.progress.first == reused)
            #expect(await engine.calls[before] == Array(second.ids[reused...]))
        }
    }

    @Test("begins anew where a package cannot take tokens back")
    func noRewind() async throws {
        let (first, third) = (recording.cases[0], recording.cases[2])
        let engine = try ScriptedEngine(recording, rewinds: false)
        let generator = Generator(engine: engine, tokenizer: tokenizer)
        for expected in [first, third, first] {
            let told = try await Told(generator.generate(prompt: expected.prompt, options: options(expected.most)))
            #expect(told.text == expected.text)
            #expect(told.metrics.reusedTokens == 0)
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
        let told = try await Told(generator.generate(prompt: expected.prompt, options: options(60)))
        #expect(told.reason == .endOfText)
        #expect(told.text == tokenizer.decode(Array(written)))
        #expect(told.metrics.generatedTokens == written.count)
        #expect(await engine.cache == expected.ids + written)
    }

    @Test("refuses prompts that are empty or leave no room, in one clear line, and serves the next")
    func refused() async throws {
        let generator = Generator(engine: try ScriptedEngine(recording), tokenizer: tokenizer)
        await #expect(throws: GenerationError.emptyPrompt) {
            try await Told(generator.generate(prompt: "", bos: false, options: options(4)))
        }
        let long = String(repeating: "x", count: 95)
        let tooLong = GenerationError.promptTooLong(tokens: tokenizer.encode(long, bos: true).count, context: 96)
        await #expect(throws: tooLong) { try await Told(generator.generate(prompt: long, options: options(4))) }
        #expect(tooLong.errorDescription?.contains("96 tokens and this package holds 96") == true)
        let told = try await Told(generator.generate(prompt: recording.cases[0].prompt, options: options(24)))
        #expect(told.text == recording.cases[0].text)
    }

    @Test("trusts nothing in the cache after an engine's error, and passes the error on")
    func engineFails() async throws {
        let generator = Generator(engine: try ScriptedEngine(recording, failingCall: 3), tokenizer: tokenizer)
        let expected = recording.cases[0]
        await #expect(throws: ScriptedEngine.Unknown.self) {
            try await Told(generator.generate(prompt: expected.prompt, options: options(24, chunk: 3)))
        }
        let told = try await Told(generator.generate(prompt: expected.prompt, options: options(24)))
        #expect(told.text == expected.text && told.metrics.reusedTokens == 0)
    }

    @Test("says so where the logits are no numbers, and does not write what they would choose", arguments: [
        Float.nan, .infinity,
    ])
    func notANumber(_ value: Float) async throws {
        let engine = try ScriptedEngine(recording)
        let expected = recording.cases[0]
        await engine.spoil(expected.ids + [expected.tokens[0]], with: value)
        let generator = Generator(engine: engine, tokenizer: tokenizer)
        await #expect(throws: GenerationError.notANumber) {
            try await Told(generator.generate(prompt: expected.prompt, options: options(24)))
        }
    }

    @Test("takes a token of minus infinity for one that is never chosen, not for damage")
    func impossibleToken() async throws {
        let engine = try ScriptedEngine(recording)
        let expected = recording.cases[0]
        try #require(expected.tokens[1] != 7)
        await engine.spoil(expected.ids + [expected.tokens[0]], with: -.infinity)
        let generator = Generator(engine: engine, tokenizer: tokenizer)
        let told = try await Told(generator.generate(prompt: expected.prompt, options: options(24)))
        #expect(told.text == expected.text)
    }

    @Test("measures: the prompt's time is not the answer's")
    func metrics() async throws {
        let engine = try ScriptedEngine(recording, delay: .milliseconds(4))
        let expected = recording.cases[1]
        let generator = Generator(engine: engine, tokenizer: tokenizer)
        let told = try await Told(generator.generate(prompt: expected.prompt, options: options(24, chunk: 1)))
        let first = try #require(told.metrics.timeToFirstToken)
        let speed = try #require(told.metrics.tokensPerSecond)
        #expect(first >= .milliseconds(4 * expected.ids.count))
        #expect(speed > 0 && speed < 250, "a token takes at least 4 ms")
    }
}
