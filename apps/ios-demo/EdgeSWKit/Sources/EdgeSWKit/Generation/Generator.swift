import Foundation

/// Generates answers with an engine, one at a time. It tracks the tokens in the engine's cache, and feeds only the part of
/// a prompt that is not cached yet.
public actor Generator {
    private let engine: any InferenceEngine
    private let tokenizer: Tokenizer
    private let endIDs: Set<Int>
    /// The tokens in the engine's cache, in order.
    private var cached: [Int] = []
    private var running: Task<Void, Never>?

    public init(engine: any InferenceEngine, tokenizer: Tokenizer) {
        self.engine = engine
        self.tokenizer = tokenizer
        endIDs = Set(tokenizer.stopIDs)
    }

    /// Returns the answer to a prompt: events up to `.finished`, or a `GenerationError` or one of the engine's errors. A
    /// chat's prompt contains its special tokens: pass `addSpecialTokens: false`. An answer that is still being generated is stopped first.
    ///
    /// If the reading task is cancelled, it receives no more events, as with every stream; `stop()` ends the stream with
    /// `.finished(.cancelled, ...)`.
    public func generate(
        prompt: String, addSpecialTokens: Bool = true, options: GenerationOptions
    ) -> AsyncThrowingStream<GenerationEvent, Error> {
        let previous = running
        previous?.cancel()
        let (stream, continuation) = AsyncThrowingStream.makeStream(of: GenerationEvent.self)
        let task = Task {
            await previous?.value
            do {
                try await answer(prompt, addSpecialTokens, options) { continuation.yield($0) }
                continuation.finish()
            } catch {
                cached = []  // the engine may have read a part: start over
                continuation.finish(throwing: error)
            }
        }
        running = task
        continuation.onTermination = { _ in task.cancel() }
        return stream
    }

    /// Stops the answer that is being generated, and returns once it has ended, after the step that the engine is in. The
    /// engine is then idle: another part of the app can use or release it.
    public func stop() async {
        running?.cancel()
        await running?.value
    }

    private func answer(
        _ prompt: String, _ addSpecialTokens: Bool, _ options: GenerationOptions, emit: (GenerationEvent) -> Void
    ) async throws {
        let clock = ContinuousClock(), start = clock.now
        var tokens = tokenizer.encode(prompt, addSpecialTokens: addSpecialTokens)
        let context = await engine.context
        guard !tokens.isEmpty else { throw GenerationError.emptyPrompt }
        guard tokens.count < context else {
            throw GenerationError.promptTooLong(tokens: tokens.count, context: context)
        }
        var metrics = GenerationMetrics()
        metrics.promptTokens = tokens.count
        guard let (promptLogits, reused) = try await readPrompt(tokens, options.promptChunk, emit) else {
            return emit(.finished(.cancelled, metrics))
        }
        metrics.reusedTokens = reused

        var logits = promptLogits
        var sampler = Sampler(options.sampling)
        var (text, stops) = (tokenizer.stream(), StopSequences(options.stopSequences))
        var (first, last): (ContinuousClock.Instant?, ContinuousClock.Instant?)
        let limit = min(options.maximumTokens, context - tokens.count)
        var reason = limit == options.maximumTokens ? FinishReason.maximumTokens : .contextFull
        while metrics.generatedTokens < limit {
            // Overflow in float16 gives infinity. Minus infinity only rules a token out.
            if logits.contains(where: { $0.isNaN || $0 == .infinity }) { throw GenerationError.notANumber }
            let token = sampler.next(logits, after: tokens)
            last = clock.now
            first = first ?? last
            if endIDs.contains(token) {
                reason = .endOfText
                break
            }
            tokens.append(token)
            metrics.generatedTokens += 1
            let shown = stops.push(text.push(token))
            if !shown.text.isEmpty { emit(.text(shown.text)) }
            if shown.stopped {
                reason = .stopSequence
                break
            }
            if metrics.generatedTokens == limit { break }
            guard let next = try await feed([token]) else {
                reason = .cancelled
                break
            }
            logits = next
        }
        metrics.timeToFirstToken = first.map { $0 - start }
        if let first, let last, last > first {
            let chosen = metrics.generatedTokens - (reason == .endOfText ? 0 : 1)
            metrics.tokensPerSecond = Double(chosen) / ((last - first) / .seconds(1))
        }
        // After the metrics, which count a token that ended the text.
        if reason != .stopSequence {
            var (shown, stopped) = stops.push(text.end())
            if !stopped {
                let rest = stops.end()
                (shown, stopped) = (shown + rest.text, rest.stopped)
            }
            if stopped { reason = .stopSequence }
            if !shown.isEmpty { emit(.text(shown)) }
        }
        emit(.finished(reason, metrics))
    }

    /// Returns the logits after the prompt, and the number of its tokens that were in the cache; nil if cancelled.
    private func readPrompt(
        _ tokens: [Int], _ chunk: Int, _ emit: (GenerationEvent) -> Void
    ) async throws -> (logits: [Float], reused: Int)? {
        // The last token is always fed: its logits are needed.
        let common = min(zip(tokens, cached).prefix { $0 == $1 }.count, tokens.count - 1)
        if await engine.count > common { try await engine.rewind(to: common) }
        let reused = await engine.count
        cached = Array(tokens[..<reused])
        var logits: [Float] = []
        while cached.count < tokens.count {
            emit(.promptProgress(done: cached.count, of: tokens.count))
            guard let next = try await feed(Array(tokens[cached.count...].prefix(chunk))) else { return nil }
            logits = next
        }
        emit(.promptProgress(done: tokens.count, of: tokens.count))
        return (logits, reused)
    }

    /// Returns the logits after more tokens; nil if cancelled, and then none of them was fed.
    private func feed(_ tokens: [Int]) async throws -> [Float]? {
        if Task.isCancelled { return nil }
        let logits = try await engine.logits(after: tokens)
        cached += tokens
        return logits
    }
}
