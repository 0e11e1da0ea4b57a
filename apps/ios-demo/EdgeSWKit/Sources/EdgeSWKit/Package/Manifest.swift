import Foundation

/// `manifest.json`: what a package is and what it was made from (docs/formats.md). Decoding throws PackageError for another
/// format.
public struct Manifest: Decodable, Sendable {
    /// The version of the format that this app reads.
    public static let format = 8
    // Far more than any package has, but small enough that no sum of sizes overflows, which would crash the app.
    private static let maximumFiles = 100_000
    private static let maximumBytes = 1 << 40

    public struct Source: Decodable, Sendable {
        public let name: String
        /// A description of where it came from.
        public let origin: String
        public let revision: String?
    }

    /// What the conversion was asked for.
    public struct Settings: Decodable, Sendable {
        /// The largest number of tokens in a conversation.
        public let context: Int
        /// The requested bits per weight; nil if a size was requested.
        public let bits: Double?
    }

    /// The model of one target.
    public struct Model: Decodable, Sendable, Equatable {
        /// The model's file or folder in the package.
        public let path: String
        /// All files that only this target needs.
        public let files: [String]
        /// The bits per weight that the matrices take.
        public let storedBits: Double

        enum CodingKeys: String, CodingKey {
            case path, files
            case storedBits = "stored_bits"
        }
    }

    /// A weight of a layer's `down_proj`, with its position in the matrix as Hugging Face stores it.
    public struct SuperWeight: Decodable, Sendable, Equatable {
        public let layer: Int
        public let row: Int
        public let column: Int
        public let value: Double
    }

    /// What a tokenizer does beside its files.
    public struct Tokens: Decodable, Sendable, Equatable {
        /// The tokens before a text.
        public let prefixIDs: [Int]
        /// The tokens after a text.
        public let suffixIDs: [Int]
        /// The tokens that end a text or a turn.
        public let stopIDs: [Int]

        enum CodingKeys: String, CodingKey {
            case prefixIDs = "prefix_ids", suffixIDs = "suffix_ids", stopIDs = "stop_ids"
        }
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
        /// The number of most recent tokens that each layer attends to; nil means all.
        public let layerWindows: [Int?]

        enum CodingKeys: String, CodingKey {
            case family, layers, heads
            case hiddenSize = "hidden_size", intermediateSize = "intermediate_size", kvHeads = "kv_heads"
            case headDim = "head_dim", vocabSize = "vocab_size", maxPositions = "max_positions"
            case layerWindows = "layer_windows"
        }
    }

    public let source: Source
    public let recipe: String?
    public let settings: Settings
    public let decoder: DecoderSummary
    /// The models by target, such as `coreml`.
    public let models: [String: Model]
    /// How the Core ML model is called; nil if there is none.
    public let coreMLOptions: CoreMLOptions?
    /// The super weights that are held out.
    public let superWeights: [SuperWeight]
    /// The columns that are held out of each matrix, such as `layers.0.down_proj`. They include those of the super weights.
    public let heldOutColumns: [String: [Int]]
    /// The size, in each model, of the correction that adds the held-out values back.
    public let correctionBytes: Int
    /// The files of the package, by path.
    public let files: [String: File]
    public let tokenizer: Tokens
    /// nil: the model has no chat template, or none that pieces of text can express.
    public let chatFormat: ChatFormat?

    private enum CodingKeys: String, CodingKey {
        case format, source, recipe, settings, decoder, models, files
        case superWeights = "super_weights", heldOutColumns = "held_out_columns", correctionBytes = "correction_bytes"
        case tokenizer, chatFormat = "chat_format"
    }
    private enum Target: String, CodingKey { case coreml }
    private enum ModelKeys: String, CodingKey { case options }

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        let format = try values.decode(Int.self, forKey: .format)
        guard format == Self.format else { throw PackageError.otherFormat(format) }
        source = try values.decode(Source.self, forKey: .source)
        recipe = try values.decodeIfPresent(String.self, forKey: .recipe)
        settings = try values.decode(Settings.self, forKey: .settings)
        self.decoder = try values.decode(DecoderSummary.self, forKey: .decoder)
        models = try values.decode([String: Model].self, forKey: .models)
        superWeights = try values.decode([SuperWeight].self, forKey: .superWeights)
        heldOutColumns = try values.decode([String: [Int]].self, forKey: .heldOutColumns)
        correctionBytes = try values.decode(Int.self, forKey: .correctionBytes)
        files = try values.decode([String: File].self, forKey: .files)
        tokenizer = try values.decode(Tokens.self, forKey: .tokenizer)
        chatFormat = try values.decodeIfPresent(ChatFormat.self, forKey: .chatFormat)
        guard files.count <= Self.maximumFiles, files.values.allSatisfy({ 0...Self.maximumBytes ~= $0.bytes }) else {
            throw invalid(values, .files)
        }
        let (files, context) = (files, settings.context)  // closures cannot use properties before all are set
        guard !models.isEmpty, models.values.allSatisfy({ $0.files.allSatisfy { files[$0] != nil } }) else {
            throw invalid(values, .models)
        }
        guard models["coreml"] != nil else {
            coreMLOptions = nil
            return
        }
        let model = try values.nestedContainer(keyedBy: Target.self, forKey: .models)
            .nestedContainer(keyedBy: ModelKeys.self, forKey: .coreml)
        let options = try model.decode(CoreMLOptions.self, forKey: .options)
        // A call's padding would overwrite the caches of shorter contexts.
        guard options.functions.allSatisfy({ ($0.lengths.last ?? 0) <= context }) else {
            throw invalid(model, .options)
        }
        coreMLOptions = options
    }

    /// The size of all files of a target's model; 0 if there is none. Files that are listed twice count once.
    public func modelBytes(_ target: String) -> Int {
        Set(models[target]?.files ?? []).reduce(0) { $0 + (files[$1]?.bytes ?? 0) }
    }
}

extension Manifest.Tokens {
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        func ids(_ key: CodingKeys) throws -> [Int] {
            let found = try values.decode([Int].self, forKey: key)
            guard found.allSatisfy({ 0..<Int(Int32.max) ~= $0 }) else { throw invalid(values, key) }
            return found
        }
        prefixIDs = try ids(.prefixIDs)
        suffixIDs = try ids(.suffixIDs)
        stopIDs = try ids(.stopIDs)
    }
}

extension Manifest.Settings {
    private enum CodingKeys: String, CodingKey { case context, bits }

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        context = try values.decode(Int.self, forKey: .context)
        bits = try values.decodeIfPresent(Double.self, forKey: .bits)
        guard 1..<Int(Int32.max) ~= context else { throw invalid(values, .context) }
    }
}

/// The error for a value that no conversion writes.
func invalid<Key>(_ values: KeyedDecodingContainer<Key>, _ key: Key) -> DecodingError {
    .dataCorruptedError(forKey: key, in: values, debugDescription: "out of range")
}
