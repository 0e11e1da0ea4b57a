import Foundation

/// `manifest.json`: what a package is and what it was made from. Decoding throws PackageError for another format.
public struct Manifest: Decodable, Sendable {
    /// The version of the format that is read here.
    public static let format = 5
    // Far more than any package has, and few enough that no sum of sizes overflows, which would end the app.
    private static let mostFiles = 100_000
    private static let mostBytes = 1 << 40

    public struct Source: Decodable, Sendable {
        public let name: String
        /// Where it came from, in words.
        public let origin: String
        public let revision: String?
    }

    public struct Settings: Decodable, Sendable {
        /// How many tokens a conversation may have.
        public let context: Int
        /// Bits a weight: what was asked for, or, where a size was asked for, what came of it.
        public let bits: Double
        /// nil: there is no Core ML model.
        public let form: Form?

        public var ablation: Bool { form?.ablation ?? false }
    }

    /// How the Core ML model is shaped (docs/formats.md).
    public struct Form: Decodable, Sendable, Equatable {
        /// The units that it is made for: gpu, ane, cpu or all.
        public let compute: String
        /// How many tokens its functions take at once; none: any number.
        public let lengths: [Int]
        /// Whether each function is there a second time without what is held out.
        public let ablation: Bool
    }

    /// A scalar of a layer's `down_proj`, by its place in the matrix as Hugging Face stores it.
    public struct Scalar: Decodable, Sendable, Equatable {
        public let layer: Int
        public let row: Int
        public let column: Int
        public let value: Double
    }

    public struct File: Decodable, Sendable, Equatable {
        public let sha256: String
        public let bytes: Int
    }

    /// The model's shape.
    public struct DecoderSummary: Decodable, Sendable {
        public let family: String
        public let layers: Int
        public let hiddenSize: Int
        public let intermediateSize: Int
        public let heads: Int
        public let kvHeads: Int
        public let headDim: Int
        public let vocabSize: Int
        public let maxPositions: Int
        /// Tokens that end a text, where the tokenizer's files name none.
        public let eosTokenIDs: [Int]
        /// By layer, how many of the last tokens it attends to; nil: all.
        public let layerWindows: [Int?]

        enum CodingKeys: String, CodingKey {
            case family, layers, heads
            case hiddenSize = "hidden_size", intermediateSize = "intermediate_size", kvHeads = "kv_heads"
            case headDim = "head_dim", vocabSize = "vocab_size", maxPositions = "max_positions"
            case eosTokenIDs = "eos_token_ids", layerWindows = "layer_windows"
        }
    }

    public let source: Source
    public let recipe: String?
    public let settings: Settings
    public let decoder: DecoderSummary
    /// By target, as `coreml`, the path of its model in the package.
    public let models: [String: String]
    /// The super weights and what else is held out scalar by scalar.
    public let heldOut: [Scalar]
    /// By matrix, as `layers.0.down_proj`, the columns that are held out whole.
    public let heldOutColumns: [String: [Int]]
    /// What all that takes in each model.
    public let correctionBytes: Int
    /// By path in the package.
    public let files: [String: File]
    /// nil: the model has no chat template, or none that can be told as pieces.
    public let chat: ChatFormat?

    enum CodingKeys: String, CodingKey {
        case format, source, recipe, settings, decoder, models, files, chat
        case heldOut = "held_out", heldOutColumns = "held_out_columns", correctionBytes = "correction_bytes"
    }

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        let format = try values.decode(Int.self, forKey: .format)
        guard format == Self.format else { throw PackageError.otherFormat(format) }
        source = try values.decode(Source.self, forKey: .source)
        recipe = try values.decodeIfPresent(String.self, forKey: .recipe)
        settings = try values.decode(Settings.self, forKey: .settings)
        self.decoder = try values.decode(DecoderSummary.self, forKey: .decoder)
        models = try values.decode([String: String].self, forKey: .models)
        heldOut = try values.decode([Scalar].self, forKey: .heldOut)
        heldOutColumns = try values.decode([String: [Int]].self, forKey: .heldOutColumns)
        correctionBytes = try values.decode(Int.self, forKey: .correctionBytes)
        files = try values.decode([String: File].self, forKey: .files)
        chat = try values.decodeIfPresent(ChatFormat.self, forKey: .chat)
        if models.isEmpty { throw wrong(values, .models) }
        guard files.count <= Self.mostFiles, files.values.allSatisfy({ 0...Self.mostBytes ~= $0.bytes }) else {
            throw wrong(values, .files)
        }
    }
}

extension Manifest.Settings {
    enum CodingKeys: String, CodingKey {
        case context, bits, form
        case storedBits = "stored_bits"
    }

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        context = try values.decode(Int.self, forKey: .context)
        form = try values.decodeIfPresent(Manifest.Form.self, forKey: .form)
        if let asked = try values.decodeIfPresent(Double.self, forKey: .bits) {
            bits = asked
        } else {
            let stored = try values.decode([String: Double].self, forKey: .storedBits)
            guard let found = stored["coreml"] ?? stored.values.max() else { throw wrong(values, .storedBits) }
            bits = found
        }
        guard 1..<Int(Int32.max) ~= context else { throw wrong(values, .context) }
    }
}

private func wrong<Key>(_ values: KeyedDecodingContainer<Key>, _ key: Key) -> DecodingError {
    .dataCorruptedError(forKey: key, in: values, debugDescription: "out of range")
}
