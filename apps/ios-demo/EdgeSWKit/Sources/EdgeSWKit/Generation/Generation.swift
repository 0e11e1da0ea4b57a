import Foundation

public struct GenerationOptions: Sendable {
    /// The largest number of tokens to generate.
    public var maximumTokens: Int
    /// Texts that end the answer. They are not part of it.
    public var stopSequences: [String]
    public var sampling: SamplingOptions
    /// The largest number of prompt tokens that are fed at once. Progress is reported, and a stop takes effect, between
    /// such chunks.
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
    /// The number of prompt tokens in the cache, including those that were cached before, and the prompt's length.
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
    /// Prompt tokens that were already in the cache.
    public var reusedTokens = 0
    public var generatedTokens = 0
    /// The time from the request to the choice of the first token; nil if there was none.
    public var timeToFirstToken: Duration?
    /// The speed after the first token, without the prompt's time; nil for fewer than two tokens.
    public var tokensPerSecond: Double?

    public init() {}
}

public enum GenerationError: LocalizedError, Equatable {
    case emptyPrompt
    case promptTooLong(tokens: Int, context: Int)
    /// The tokenizer has a token with this id, and the model does not.
    case unknownToken(Int)
    case notANumber

    public var errorDescription: String? {
        switch self {
        case .emptyPrompt: "The prompt is empty: write something."
        case .promptTooLong(let tokens, let context):
            "The prompt has \(tokens) tokens and this package holds \(context), including the answer: shorten the prompt."
        case .unknownToken(let id):
            "The prompt contains a special token (id \(id)) that this package's model does not have: leave it out."
        case .notANumber: "The model's output is not a number: this package does not compute correctly on this device."
        }
    }
}
