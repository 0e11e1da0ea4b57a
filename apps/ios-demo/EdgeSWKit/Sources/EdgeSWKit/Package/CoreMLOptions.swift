/// The options of a package's Core ML model: its compute units and its functions (docs/formats.md).
public struct CoreMLOptions: Decodable, Sendable, Equatable {
    /// A function of the model, in each chunk.
    public struct Function: Decodable, Sendable, Equatable {
        public let name: String
        /// The numbers of tokens that it takes at once, ascending. Empty: any number.
        public let lengths: [Int]
        /// Whether it adds back what is held out.
        public let corrected: Bool
    }

    /// The compute units that the model is made for: gpu, ane, cpu or all.
    public let compute: String
    public let functions: [Function]

    /// Whether the model also has functions without the correction.
    public var hasAblation: Bool { functions.contains { !$0.corrected } }
}

extension CoreMLOptions {
    private enum CodingKeys: String, CodingKey { case compute, functions }
    // edgesw writes lengths up to 1,024, and so at most as many functions of each kind.
    private static let maximumLength = 1_024

    /// Throws DecodingError for functions that edgesw does not write: those with the correction, and those without it if
    /// there are any, are a single function that takes any number of tokens, or functions of different lengths.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        compute = try values.decode(String.self, forKey: .compute)
        functions = try values.decode([Function].self, forKey: .functions)
        let corrected = functions.filter(\.corrected), uncorrected = functions.filter { !$0.corrected }
        guard functions.count <= 2 * Self.maximumLength, Set(functions.map(\.name)).count == functions.count,
            functions.allSatisfy(Self.isValid), Self.isComplete(corrected), uncorrected.isEmpty || Self.isComplete(uncorrected)
        else { throw invalid(values, .functions) }
    }

    private static func isValid(_ function: Function) -> Bool {
        let lengths = function.lengths
        return !function.name.isEmpty && lengths.allSatisfy { 1...maximumLength ~= $0 }
            && zip(lengths, lengths.dropFirst()).allSatisfy { $0 < $1 }
    }

    private static func isComplete(_ functions: [Function]) -> Bool {
        let lengths = functions.flatMap(\.lengths)
        if lengths.isEmpty { return functions.count == 1 }
        return Set(lengths).count == lengths.count && functions.allSatisfy { !$0.lengths.isEmpty }
    }
}
