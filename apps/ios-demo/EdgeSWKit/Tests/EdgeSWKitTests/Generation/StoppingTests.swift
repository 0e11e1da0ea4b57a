import Foundation
import Testing

@testable import EdgeSWKit

/// How an answer ends.
extension GeneratorTests {
    @Test("ends before a stop sequence, even if it begins and ends within tokens")
    func stopSequences() async throws {
        let expected = recording.cases[2]
        let generator = Generator(engine: try ScriptedEngine(recording), tokenizer: tokenizer)
        let characters = Array(expected.text)
        for start in stride(from: 0, to: characters.count - 6, by: 3) {
            let stop = String(characters[start..<start + 4])
            let shown = expected.text[..<(try #require(expected.text.range(of: stop))).lowerBound]
            let stream = await generator.generate(
                prompt: expected.prompt, options: options(200, stop: ["never said", stop]))
            let events = try await Events(stream)
            #expect(events.text == shown, "stop sequence \(stop)")
            #expect(events.reason == .stopSequence)
        }
        let stops = [String(expected.text.suffix(3)) + "!", String(expected.text.prefix(5)) + "\u{301}"]
        let events = try await Events(generator.generate(prompt: expected.prompt, options: options(200, stop: stops)))
        #expect(events.text == expected.text && events.reason == .contextFull, "held-back text is shown in the end")
    }

    @Test("stops at a shorter sequence within the beginning of a longer one")
    func sequenceWithinAnother() {
        var stops = StopSequences(["abcd", "c"])
        #expect(stops.push("xabc") == ("x", false))
        #expect(stops.end() == ("ab", true))
        stops = StopSequences(["abcd", "c"])
        #expect(stops.push("abc") == ("", false) && stops.push("d") == ("", true))
        stops = StopSequences(["abcd"])
        #expect(stops.push("abc") == ("", false) && stops.end() == ("abc", false))
    }

    @Test("does not show a sequence that was held back as the beginning of a longer one")
    func heldSequence() async throws {
        let expected = recording.cases[2]
        let generator = Generator(engine: try ScriptedEngine(recording), tokenizer: tokenizer)
        let end = String(expected.text.suffix(4)), last = String(end.suffix(1))
        let stops = [expected.text + "!", last]  // all of the text is held back to the end
        let events = try await Events(generator.generate(prompt: expected.prompt, options: options(200, stop: stops)))
        #expect(events.text == String(expected.text.prefix { String($0) != last }))
        #expect(events.reason == .stopSequence)
    }

    @Test("stops between two tokens, and answers correctly afterwards")
    func stop() async throws {
        let expected = recording.cases[2]
        let engine = try ScriptedEngine(recording, delay: .milliseconds(20))
        let generator = Generator(engine: engine, tokenizer: tokenizer)
        let stopped = try await Events(generator.generate(prompt: expected.prompt, options: options(200))) { event in
            if case .text = event { await generator.stop() }
        }
        #expect(stopped.reason == .cancelled)
        #expect(stopped.metrics.generatedTokens >= 1 && stopped.metrics.generatedTokens < expected.tokens.count)
        #expect(!stopped.text.isEmpty && expected.text.hasPrefix(stopped.text))
        let early = try await Events(
            generator.generate(prompt: recording.cases[1].prompt, options: options(24, chunk: 1))
        ) { event in
            if case .promptProgress(let done, _) = event, done > 3 { await generator.stop() }
        }
        #expect(early.reason == .cancelled && early.metrics.generatedTokens == 0 && early.text.isEmpty)
        #expect(early.metrics.timeToFirstToken == nil && early.metrics.tokensPerSecond == nil)
        await engine.removeDelay()
        let events = try await Events(generator.generate(prompt: expected.prompt, options: options(200)))
        #expect(events.text == expected.text)
    }

    @Test("has ended when stop returns: the caller may then use or release the engine")
    func idle() async throws {
        let engine = try ScriptedEngine(recording, delay: .milliseconds(50))
        let generator = Generator(engine: engine, tokenizer: tokenizer)
        await generator.stop()  // nothing runs: nothing to wait for
        let stream = await generator.generate(prompt: recording.cases[2].prompt, options: options(200))
        while await !engine.isBusy { try await Task.sleep(for: .milliseconds(1)) }
        await generator.stop()
        #expect(await !engine.isBusy)
        #expect(try await Events(stream).reason == .cancelled)
    }

    @Test("stops when the reading task is cancelled: otherwise the phone would compute for nobody")
    func cancelledReader() async throws {
        let engine = try ScriptedEngine(recording, delay: .milliseconds(20))
        let generator = Generator(engine: engine, tokenizer: tokenizer)
        let expected = recording.cases[2]
        let reader = Task {
            try await Events(generator.generate(prompt: expected.prompt, options: options(200)))
        }
        while await engine.calls.count < 5 { try await Task.sleep(for: .milliseconds(1)) }
        reader.cancel()
        _ = try await reader.value
        try await Task.sleep(for: .milliseconds(60))
        let calls = await engine.calls.count
        try await Task.sleep(for: .milliseconds(60))
        #expect(await engine.calls.count == calls && calls < expected.tokens.count)
    }

    @Test("stops for the next request, and the two do not mix in the cache")
    func nextRequest() async throws {
        let engine = try ScriptedEngine(recording, delay: .milliseconds(20))
        let generator = Generator(engine: engine, tokenizer: tokenizer)
        let first = await generator.generate(prompt: recording.cases[2].prompt, options: options(200))
        while await engine.calls.count < 3 { try await Task.sleep(for: .milliseconds(1)) }
        let second = await generator.generate(prompt: recording.cases[0].prompt, options: options(24))
        #expect(try await Events(first).reason == .cancelled)
        #expect(try await Events(second).text == recording.cases[0].text)
    }
}
