/// How tokens are chosen. nil leaves a step out.
public struct SamplingOptions: Sendable, Codable, Equatable {
    /// The divisor of the logits; 0 always chooses the most likely token.
    public var temperature: Double
    /// Keeps this many of the most likely tokens, and those as likely as the last of them.
    public var topK: Int?
    /// Keeps the most likely tokens that together have at least this probability.
    public var topP: Double?
    /// Keeps the tokens that have at least this share of the most likely token's probability.
    public var minP: Double?
    /// Divides the logits of tokens that already occurred where they are positive, and multiplies them where they are
    /// negative.
    public var repetitionPenalty: Double?
    /// The same seed gives the same choices; nil gives different ones every time.
    public var seed: UInt64?

    public init(
        temperature: Double = 0, topK: Int? = nil, topP: Double? = nil, minP: Double? = nil,
        repetitionPenalty: Double? = nil, seed: UInt64? = nil
    ) {
        self.temperature = temperature
        (self.topK, self.topP, self.minP) = (topK, topP, minP)
        (self.repetitionPenalty, self.seed) = (repetitionPenalty, seed)
    }
}
