/// A regular expression, in the subset of Oniguruma's Ruby syntax that tokenizers use.
///
/// Foundation's regular expressions work on UTF-16 and have other character classes, so that words would end elsewhere than
/// in the model's training. Matching has a stack of its own, so that no text overflows the thread's stack.
struct Pattern: Sendable {
    indirect enum Node: Sendable {
        case empty
        case set(ScalarSet)
        case sequence([Node])
        case alternatives([Node])
        case repeated(Node, least: Int, most: Int, possessive: Bool)
        case lookahead(Node, isPositive: Bool)
        case anchor(Anchor)
    }

    enum Anchor: Sendable { case lineStart, lineEnd, textStart, textEnd }

    enum Step: Sendable {
        case set(Int)  // index in `sets`
        case run(Int, least: Int, most: Int, possessive: Bool)
        case jump(Int)
        case fork(Int, Int)
        case lookahead(steps: Int, isPositive: Bool)  // `steps` is the number of steps that follow, with their .match
        case anchor(Anchor)
        case match
    }

    private(set) var steps: [Step] = []
    private(set) var sets: [ScalarSet] = []

    // Groups with counts are expanded; no tokenizer's pattern comes near this many steps.
    private static let maximumSteps = 5_000

    /// Throws TokenizerError for a pattern that Oniguruma rejects or that is outside the supported subset.
    init(_ source: String) throws {
        var parser = PatternParser(source)
        let node = try parser.parse()
        try compile(node, source)
        steps.append(.match)
    }

    /// Creates a pattern that matches a text literally.
    init(literal: String) {
        for scalar in literal.unicodeScalars { steps.append(.set(index(ScalarSet([scalar...scalar])))) }
        steps.append(.match)
    }

    private mutating func index(_ set: ScalarSet) -> Int {
        sets.append(set)
        return sets.count - 1
    }

    private mutating func compile(_ node: Node, _ source: String) throws {
        guard steps.count < Self.maximumSteps else { throw Self.unsupported(source) }
        switch node {
        case .empty: break
        case .set(let set): steps.append(.set(index(set)))
        case .anchor(let anchor): steps.append(.anchor(anchor))
        case .sequence(let nodes): for node in nodes { try compile(node, source) }
        case .alternatives(let nodes): try compileAlternatives(nodes[...], source)
        case .lookahead(let node, let isPositive):
            let start = steps.count
            steps.append(.match)
            try compile(node, source)
            steps.append(.match)
            steps[start] = .lookahead(steps: steps.count - start - 1, isPositive: isPositive)
        case .repeated(.set(let set), let least, let most, let possessive):
            steps.append(.run(index(set), least: least, most: most, possessive: possessive))
        case .repeated(let node, let least, let most, let possessive):
            // A node that can match nothing could be repeated forever. Possessive groups are not supported.
            guard !possessive, !Self.canBeEmpty(node), least <= Self.maximumSteps, most == .max || most <= Self.maximumSteps
            else {
                throw Self.unsupported(source)
            }
            try compileRepetition(node, least, most, source)
        }
    }

    private mutating func compileAlternatives(_ nodes: ArraySlice<Node>, _ source: String) throws {
        guard let first = nodes.first, nodes.count > 1 else { return try compile(nodes.first ?? .empty, source) }
        let fork = steps.count
        steps.append(.match)
        try compile(first, source)
        let jump = steps.count
        steps.append(.match)
        steps[fork] = .fork(fork + 1, steps.count)
        try compileAlternatives(nodes.dropFirst(), source)
        steps[jump] = .jump(steps.count)
    }

    private mutating func compileRepetition(_ node: Node, _ least: Int, _ most: Int, _ source: String) throws {
        for _ in 0..<least { try compile(node, source) }
        if most == .max {
            let fork = steps.count
            steps.append(.match)
            try compile(node, source)
            steps.append(.jump(fork))
            steps[fork] = .fork(fork + 1, steps.count)
            return
        }
        var forks: [Int] = []
        for _ in least..<most {
            forks.append(steps.count)
            steps.append(.match)
            try compile(node, source)
        }
        for fork in forks { steps[fork] = .fork(fork + 1, steps.count) }
    }

    private static func canBeEmpty(_ node: Node) -> Bool {
        switch node {
        case .set: false
        case .empty, .anchor, .lookahead: true
        case .sequence(let nodes): nodes.allSatisfy(canBeEmpty)
        case .alternatives(let nodes): nodes.contains(where: canBeEmpty)
        case .repeated(let node, let least, _, _): least == 0 || canBeEmpty(node)
        }
    }

    static func unsupported(_ source: String) -> TokenizerError {
        .unsupported(part: "pattern", name: "'\(source.prefix(200))'")
    }
}
