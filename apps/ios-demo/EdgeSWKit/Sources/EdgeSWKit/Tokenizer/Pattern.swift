/// A regular expression, in the part of Oniguruma's Ruby syntax that tokenizers' patterns are written in.
///
/// Foundation's own works on UTF-16 and by other tables of characters, so that words would end elsewhere than the model
/// was taught. Matching keeps its own stack: neither a long text nor a bad one runs out of the thread's.
struct Pattern: Sendable {
    indirect enum Node: Sendable {
        case empty
        case set(ScalarSet)
        case sequence([Node])
        case either([Node])
        case times(Node, least: Int, most: Int, possessive: Bool)
        case ahead(Node, wanted: Bool)
        case place(Place)
    }

    enum Place: Sendable { case lineStart, lineEnd, textStart, textEnd }

    enum Step: Sendable {
        case set(Int)  // its place in `sets`
        case run(Int, least: Int, most: Int, possessive: Bool)
        case jump(Int)
        case fork(Int, Int)
        case ahead(steps: Int, wanted: Bool)  // the steps that follow, up to and with their .match
        case place(Place)
        case match
    }

    private(set) var steps: [Step] = []
    private(set) var sets: [ScalarSet] = []

    // Counted groups are written out; no tokenizer's pattern comes near.
    private static let longest = 5_000

    /// Throws TokenizerError for a pattern that Oniguruma would refuse or that is beyond this part of its syntax.
    init(_ source: String) throws {
        var parser = PatternParser(source)
        let node = try parser.parse()
        try write(node, source)
        steps.append(.match)
    }

    /// A pattern that is this text.
    init(literal: String) {
        for scalar in literal.unicodeScalars { steps.append(.set(place(ScalarSet([scalar...scalar])))) }
        steps.append(.match)
    }

    private mutating func place(_ set: ScalarSet) -> Int {
        sets.append(set)
        return sets.count - 1
    }

    private mutating func write(_ node: Node, _ source: String) throws {
        guard steps.count < Self.longest else { throw Self.unsupported(source) }
        switch node {
        case .empty: break
        case .set(let set): steps.append(.set(place(set)))
        case .place(let place): steps.append(.place(place))
        case .sequence(let nodes): for node in nodes { try write(node, source) }
        case .either(let nodes): try writeEither(nodes[...], source)
        case .ahead(let node, let wanted):
            let start = steps.count
            steps.append(.match)
            try write(node, source)
            steps.append(.match)
            steps[start] = .ahead(steps: steps.count - start - 1, wanted: wanted)
        case .times(.set(let set), let least, let most, let possessive):
            steps.append(.run(place(set), least: least, most: most, possessive: possessive))
        case .times(let node, let least, let most, let possessive):
            // What may be empty could be repeated for ever, and groups are given back only as a whole.
            guard !possessive, !Self.mayBeEmpty(node), least <= Self.longest, most == .max || most <= Self.longest else {
                throw Self.unsupported(source)
            }
            try writeTimes(node, least, most, source)
        }
    }

    private mutating func writeEither(_ nodes: ArraySlice<Node>, _ source: String) throws {
        guard let first = nodes.first, nodes.count > 1 else { return try write(nodes.first ?? .empty, source) }
        let fork = steps.count
        steps.append(.match)
        try write(first, source)
        let jump = steps.count
        steps.append(.match)
        steps[fork] = .fork(fork + 1, steps.count)
        try writeEither(nodes.dropFirst(), source)
        steps[jump] = .jump(steps.count)
    }

    private mutating func writeTimes(_ node: Node, _ least: Int, _ most: Int, _ source: String) throws {
        for _ in 0..<least { try write(node, source) }
        if most == .max {
            let fork = steps.count
            steps.append(.match)
            try write(node, source)
            steps.append(.jump(fork))
            steps[fork] = .fork(fork + 1, steps.count)
            return
        }
        var forks: [Int] = []
        for _ in least..<most {
            forks.append(steps.count)
            steps.append(.match)
            try write(node, source)
        }
        for fork in forks { steps[fork] = .fork(fork + 1, steps.count) }
    }

    private static func mayBeEmpty(_ node: Node) -> Bool {
        switch node {
        case .set: false
        case .empty, .place, .ahead: true
        case .sequence(let nodes): nodes.allSatisfy(mayBeEmpty)
        case .either(let nodes): nodes.contains(where: mayBeEmpty)
        case .times(let node, let least, _, _): least == 0 || mayBeEmpty(node)
        }
    }

    static func unsupported(_ source: String) -> TokenizerError {
        .unsupported(part: "pattern", name: "'\(source.prefix(200))'")
    }
}
