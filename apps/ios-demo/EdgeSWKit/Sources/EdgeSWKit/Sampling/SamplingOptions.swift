/// How tokens are chosen. nil leaves a step out.
public struct SamplingOptions: Sendable, Codable, Equatable {
    /// What logits are divided by; 0: always the most likely token.
    public var temperature: Double
    /// Only so many of the most likely tokens, and those as likely as the last of them.
    public var topK: Int?
    /// Only the most likely tokens that together have this probability.
    public var topP: Double?
    /// Only tokens of at least this share of the most likely one's probability.
    public var minP: Double?
    /// Logits of tokens that are there already are divided by it where positive, multiplied where negative.
    public var repetitionPenalty: Double?
    /// The same seed gives the same choices; nil: others every time.
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
