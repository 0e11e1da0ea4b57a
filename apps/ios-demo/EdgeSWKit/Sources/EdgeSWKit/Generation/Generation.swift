import Foundation

public struct GenerationOptions: Sendable {
    /// Most tokens to write.
    public var maximumTokens: Int
    /// Texts that end the answer, which they are no part of.
    public var stopSequences: [String]
    public var sampling: SamplingOptions
    /// Most tokens of the prompt that are fed at once: progress is told, and a stop is heard, between such pieces.
    public var promptChunk: Int

    public init(
        maximumTokens: Int = 512, stopSequences: [String] = [], sampling: SamplingOptions = SamplingOptions(),
        promptChunk: Int = 64
    ) {
        (self.maximumTokens, self.stopSequences) = (maximumTokens, stopSequences)
        (self.sampling, self.promptChunk) = (sampling, max(promptChunk, 1))
    }
}

public enum GenerationEvent: Sendable {
    /// So many of the prompt's tokens are in the cache, those that were there already included.
    case promptProgress(done: Int, of: Int)
    /// The next part of the answer.
    case text(String)
    /// The last event.
    case finished(FinishReason, GenerationMetrics)
}

public enum FinishReason: Sendable, Equatable {
    case endOfText, stopSequence, maximumTokens, contextFull, cancelled
}

public struct GenerationMetrics: Sendable, Equatable {
    public var promptTokens = 0
    /// Tokens of the prompt that were in the cache already.
    public var reusedTokens = 0
    public var generatedTokens = 0
    /// From the request to the choice of the first token; nil where there was none.
    public var timeToFirstToken: Duration?
    /// Of the tokens after the first, the prompt's time not counted; nil for fewer than two tokens.
    public var tokensPerSecond: Double?

    public init() {}
}

public enum GenerationError: LocalizedError, Equatable {
    case emptyPrompt
    case promptTooLong(tokens: Int, context: Int)
    case notANumber

    public var errorDescription: String? {
        switch self {
        case .emptyPrompt: "The prompt is empty: write something."
        case .promptTooLong(let tokens, let context):
            "The prompt has \(tokens) tokens and this package holds \(context), answer included: shorten it."
        case .notANumber: "The model's output is no number: this package does not compute correctly on this device."
        }
    }
}
