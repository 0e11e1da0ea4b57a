import Foundation

/// Writes answers with an engine, one after the other, and keeps the books of its cache: of a prompt only what is not in
/// the cache yet is fed.
public actor Generator {
    private let engine: any InferenceEngine
    private let tokenizer: Tokenizer
    private let endIDs: Set<Int>
    /// The tokens in the engine's cache, in order.
    private var cached: [Int] = []
    private var running: Task<Void, Never>?

    /// `endIDs`: tokens that end an answer where the tokenizer's files name none.
    public init(engine: any InferenceEngine, tokenizer: Tokenizer, endIDs: [Int] = []) {
        self.engine = engine
        self.tokenizer = tokenizer
        self.endIDs = Set(tokenizer.eosIDs.isEmpty ? endIDs : tokenizer.eosIDs)
    }

    /// The answer to a prompt: events up to `.finished`, or a `GenerationError` or one of the engine's. A chat's prompt
    /// has its BOS: pass `bos: false`. An answer that is still being written is stopped first.
    ///
    /// Where the reading task is cancelled, it sees no more events, as with every stream; `stop()` ends it with
    /// `.finished(.cancelled, ...)`.
    public func generate(
        prompt: String, bos: Bool = true, options: GenerationOptions
    ) -> AsyncThrowingStream<GenerationEvent, Error> {
        let previous = running
        previous?.cancel()
        let (stream, continuation) = AsyncThrowingStream.makeStream(of: GenerationEvent.self)
        let task = Task {
            await previous?.value
            do {
                try await answer(prompt, bos: bos, options) { continuation.yield($0) }
                continuation.finish()
            } catch {
                cached = []  // the engine may have read a part: begin anew
                continuation.finish(throwing: error)
            }
        }
        running = task
        continuation.onTermination = { _ in task.cancel() }
        return stream
    }

    /// Ends the answer that is being written, and returns when it has ended: the engine then is at rest, and free for
    /// others or to be given back. A step that the engine is in is waited for.
    public func stop() async {
        running?.cancel()
        await running?.value
    }

    private func answer(
        _ prompt: String, bos: Bool, _ options: GenerationOptions, tell: (GenerationEvent) -> Void
    ) async throws {
        let clock = ContinuousClock(), start = clock.now
        var tokens = tokenizer.encode(prompt, bos: bos)
        let context = await engine.context
        guard !tokens.isEmpty else { throw GenerationError.emptyPrompt }
        guard tokens.count < context else {
            throw GenerationError.promptTooLong(tokens: tokens.count, context: context)
        }
        var metrics = GenerationMetrics()
        metrics.promptTokens = tokens.count
        guard let (read, reused) = try await readPrompt(tokens, options.promptChunk, tell) else {
            return tell(.finished(.cancelled, metrics))
        }
        metrics.reusedTokens = reused

        var logits = read
        var sampler = Sampler(options.sampling)
        var (text, stops) = (tokenizer.stream(), StopSequences(options.stopSequences))
        var (first, last): (ContinuousClock.Instant?, ContinuousClock.Instant?)
        let most = min(options.maximumTokens, context - tokens.count)
        var reason = most == options.maximumTokens ? FinishReason.maximumTokens : .contextFull
        while metrics.generatedTokens < most {
            // What is too large for float16 comes as infinity; minus infinity only says that a token is out of the question.
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
            if !shown.text.isEmpty { tell(.text(shown.text)) }
            if shown.stopped {
                reason = .stopSequence
                break
            }
            if metrics.generatedTokens == most { break }
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
        // After the figures, which count a token that ended the text.
        if reason != .stopSequence {
            var (shown, stopped) = stops.push(text.end())
            if !stopped {
                let held = stops.end()
                (shown, stopped) = (shown + held.text, held.stopped)
            }
            if stopped { reason = .stopSequence }
            if !shown.isEmpty { tell(.text(shown)) }
        }
        tell(.finished(reason, metrics))
    }

    /// The logits after the prompt, and how many of its tokens were in the cache; nil when cancelled.
    private func readPrompt(
        _ tokens: [Int], _ chunk: Int, _ tell: (GenerationEvent) -> Void
    ) async throws -> (logits: [Float], reused: Int)? {
        // The last token is always fed, for its logits.
        let common = min(zip(tokens, cached).prefix { $0 == $1 }.count, tokens.count - 1)
        if await engine.count > common { try await engine.rewind(to: common) }
        let reused = await engine.count
        cached = Array(tokens[..<reused])
        var logits: [Float] = []
        while cached.count < tokens.count {
            tell(.promptProgress(done: cached.count, of: tokens.count))
            guard let next = try await feed(Array(tokens[cached.count...].prefix(chunk))) else { return nil }
            logits = next
        }
        tell(.promptProgress(done: tokens.count, of: tokens.count))
        return (logits, reused)
    }

    /// The logits after further tokens; nil when cancelled, and then none of them was fed.
    private func feed(_ tokens: [Int]) async throws -> [Float]? {
        if Task.isCancelled { return nil }
        let logits = try await engine.logits(after: tokens)
        cached += tokens
        return logits
    }
}
