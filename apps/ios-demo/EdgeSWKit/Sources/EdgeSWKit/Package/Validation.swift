import Foundation

/// `validation.json`: what `edgesw validate --record` measured beside the float model.
public struct Validation: Decodable, Sendable {
    /// Of one target. What was infinite or no number is `nan`, since JSON has no word for it.
    public struct Agreement: Decodable, Sendable {
        /// What ran the model.
        public let runtime: String
        public let perplexity: Double
        public let floatPerplexity: Double
        /// Relative increase in perplexity: 0.05 is 5% above the float model.
        public let increase: Double
        /// Mean KL(float || package), nats.
        public let klDivergence: Double
        /// What one position in a hundred is above, nats.
        public let kl99th: Double
        /// Share of positions with the same most likely token.
        public let top1Agreement: Double
        /// Share of positions whose float most likely token is among the package's first five.
        public let top5Agreement: Double
        /// How many tokens were predicted.
        public let positions: Int
        /// Whether the increase is within the most allowed; nil for what no verdict depends on.
        public let passed: Bool?
        /// Size of the target's files.
        public let bytes: Int?
    }

    /// Greedy continuations of one prompt.
    public struct Sample: Decodable, Sendable {
        public let prompt: String
        public let floatText: String
        /// By target.
        public let texts: [String: String]
        /// By target, how many tokens are the float model's before the first that is not.
        public let sameTokens: [String: Int]

        enum CodingKeys: String, CodingKey {
            case prompt, texts
            case floatText = "float_text", sameTokens = "same_tokens"
        }
    }

    /// Which text was measured on, in words.
    public let text: String
    public let windows: Int
    public let tokensPerWindow: Int
    /// The relative increase in perplexity up to which a target passes.
    public let maximumIncrease: Double
    public let passed: Bool
    /// By target, as `coreml`.
    public let targets: [String: Agreement]
    /// By target, the same model without what is held out; empty where the package has no such functions.
    public let uncorrected: [String: Agreement]
    public let samples: [Sample]

    enum CodingKeys: String, CodingKey {
        case text, windows, passed, targets, uncorrected, samples
        case tokensPerWindow = "tokens_per_window", maximumIncrease = "max_perplexity_increase"
    }

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        text = try values.decode(String.self, forKey: .text)
        windows = try values.decode(Int.self, forKey: .windows)
        tokensPerWindow = try values.decode(Int.self, forKey: .tokensPerWindow)
        maximumIncrease = try values.decode(Double.self, forKey: .maximumIncrease)
        passed = try values.decode(Bool.self, forKey: .passed)
        targets = try values.decode([String: Agreement].self, forKey: .targets)
        uncorrected = try values.decodeIfPresent([String: Agreement].self, forKey: .uncorrected) ?? [:]
        samples = try values.decode([Sample].self, forKey: .samples)
    }
}

extension Validation.Agreement {
    enum CodingKeys: String, CodingKey {
        case runtime, perplexity, increase, positions, passed, bytes
        case floatPerplexity = "float_perplexity", klDivergence = "kl_divergence", kl99th = "kl_99th"
        case top1Agreement = "top1_agreement", top5Agreement = "top5_agreement"
    }

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        func number(_ key: CodingKeys) throws -> Double {
            try values.decode(Double?.self, forKey: key) ?? .nan  // the key has to be there
        }
        runtime = try values.decode(String.self, forKey: .runtime)
        perplexity = try number(.perplexity)
        floatPerplexity = try number(.floatPerplexity)
        increase = try number(.increase)
        klDivergence = try number(.klDivergence)
        kl99th = try number(.kl99th)
        top1Agreement = try number(.top1Agreement)
        top5Agreement = try number(.top5Agreement)
        positions = try values.decode(Int.self, forKey: .positions)
        passed = try values.decodeIfPresent(Bool.self, forKey: .passed)
        bytes = try values.decodeIfPresent(Int.self, forKey: .bytes)
    }
}
