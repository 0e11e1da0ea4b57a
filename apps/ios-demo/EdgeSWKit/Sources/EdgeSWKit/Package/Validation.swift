import Foundation

/// `validation.json`: what `edgesw validate --record` measured in comparison with the float model.
public struct Validation: Decodable, Sendable {
    /// The agreement of one target with the float model. Values that were infinite or not a number are `nan`, since JSON can
    /// express neither.
    public struct Agreement: Decodable, Sendable {
        /// The runtime that ran the model.
        public let runtime: String
        public let perplexity: Double
        public let floatPerplexity: Double
        /// The relative increase in perplexity: 0.05 is 5% above the float model.
        public let increase: Double
        /// The mean of KL(float || package), in nats.
        public let klDivergence: Double
        /// The 99th percentile of the KL divergence, in nats.
        public let kl99th: Double
        /// The share of positions with the same most likely token.
        public let top1Agreement: Double
        /// The share of positions at which the float model's most likely token is among the package's five most likely ones.
        public let top5Agreement: Double
        /// The number of predicted tokens.
        public let positions: Int
        /// Whether the increase is within the limit; nil where no verdict depends on it.
        public let passed: Bool?
        /// The size of the target's files.
        public let bytes: Int?
    }

    /// Greedy continuations of one prompt.
    public struct Sample: Decodable, Sendable {
        public let prompt: String
        public let floatText: String
        /// The continuation of each target.
        public let texts: [String: String]
        /// The number of tokens before the first that differs from the float model's, by target.
        public let sameTokens: [String: Int]

        enum CodingKeys: String, CodingKey {
            case prompt, texts
            case floatText = "float_text", sameTokens = "same_tokens"
        }
    }

    /// A description of the text that was measured on.
    public let text: String
    public let windows: Int
    public let tokensPerWindow: Int
    /// The largest relative increase in perplexity with which a target passes.
    public let maximumIncrease: Double
    public let passed: Bool
    /// The agreement of each target, such as `coreml`.
    public let targets: [String: Agreement]
    /// The agreement of each target without the correction; empty if the package has no such functions.
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
            try values.decode(Double?.self, forKey: key) ?? .nan  // the key is required
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
