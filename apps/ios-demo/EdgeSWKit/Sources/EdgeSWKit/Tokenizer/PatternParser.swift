/// Parses the source of a Pattern.
struct PatternParser {
    private let source: String
    private let text: [Unicode.Scalar]
    private var index = 0
    private var depth = 0

    init(_ source: String) { (self.source, text) = (source, Array(source.unicodeScalars)) }

    mutating func parse() throws -> Pattern.Node {
        let node = try alternatives(ignoringCase: false)
        guard index == text.count else { throw unsupported }
        return node
    }

    private var unsupported: TokenizerError { Pattern.unsupported(source) }
    private var next: Unicode.Scalar? { index < text.count ? text[index] : nil }

    private mutating func take(_ words: String) -> Bool {
        let wanted = Array(words.unicodeScalars)
        guard text[index...].starts(with: wanted) else { return false }
        index += wanted.count
        return true
    }

    private mutating func alternatives(ignoringCase: Bool) throws -> Pattern.Node {
        depth += 1
        defer { depth -= 1 }
        guard depth < 100 else { throw unsupported }
        var nodes = [try sequence(ignoringCase)]
        while take("|") { nodes.append(try sequence(ignoringCase)) }
        return nodes.count == 1 ? nodes[0] : .alternatives(nodes)
    }

    private mutating func sequence(_ ignoringCase: Bool) throws -> Pattern.Node {
        var nodes: [Pattern.Node] = []
        while let scalar = next, scalar != "|", scalar != ")" {
            var node = try atom(ignoringCase)
            while let (least, most) = try count() {
                // After a count in braces, + is another count in Ruby's syntax. No tokenizer has lazy counts.
                let braces = text[index - 1] == "}"
                if next == "?" { throw unsupported }
                node = .repeated(node, least: least, most: most, possessive: !braces && take("+"))
            }
            nodes.append(node)
        }
        return nodes.count == 1 ? nodes[0] : .sequence(nodes)
    }

    private mutating func count() throws -> (Int, Int)? {
        if take("?") { return (0, 1) }
        if take("*") { return (0, .max) }
        if take("+") { return (1, .max) }
        guard next == "{" else { return nil }
        guard let close = text[index...].firstIndex(of: "}") else { throw unsupported }
        let words = String(String.UnicodeScalarView(text[(index + 1)..<close]))
        let parts = words.split(separator: ",", maxSplits: 1, omittingEmptySubsequences: false)
        guard !words.isEmpty, words.unicodeScalars.allSatisfy({ "0"..."9" ~= $0 || $0 == "," }),
            let least = parts[0].isEmpty ? 0 : Int(parts[0]),
            let most = parts.count == 1 ? least : parts[1].isEmpty ? .max : Int(parts[1]), least <= most, words != ","
        else { throw unsupported }
        index = close + 1
        return (least, most)
    }

    private mutating func atom(_ ignoringCase: Bool) throws -> Pattern.Node {
        if take("(?:") { return try group(ignoringCase) }
        if take("(?i:") { return try group(true) }
        if take("(?=") { return .lookahead(try group(ignoringCase), isPositive: true) }
        if take("(?!") { return .lookahead(try group(ignoringCase), isPositive: false) }
        if take("(?") { throw unsupported }
        if take("(") { return try group(ignoringCase) }
        if take("^") { return .anchor(.lineStart) }
        if take("$") { return .anchor(.lineEnd) }
        if take("\\A") { return .anchor(.textStart) }
        if take("\\z") { return .anchor(.textEnd) }
        if take(".") { return .set(ScalarSet(["\n"..."\n"]).inverted) }
        if take("[") { return .set(try set(ignoringCase)) }
        if next == "\\" { return .set(try escape().ignoringCase(ignoringCase)) }
        guard let scalar = next, !"?*+{)".unicodeScalars.contains(scalar) else { throw unsupported }
        index += 1
        return .set(ScalarSet([scalar...scalar]).ignoringCase(ignoringCase))
    }

    private mutating func group(_ ignoringCase: Bool) throws -> Pattern.Node {
        let node = try alternatives(ignoringCase: ignoringCase)
        guard take(")") else { throw unsupported }
        return node
    }

    /// The set whose "[" was just read.
    private mutating func set(_ ignoringCase: Bool) throws -> ScalarSet {
        var set = ScalarSet([])
        let inverted = take("^")
        guard next != "]" else { throw unsupported }
        while let scalar = next, scalar != "]" {
            // Nested sets, POSIX classes and intersections are not supported.
            guard scalar != "[", !(scalar == "&" && index + 1 < text.count && text[index + 1] == "&") else {
                throw unsupported
            }
            let first = try member()
            guard next == "-", index + 1 < text.count, text[index + 1] != "]" else {
                set.add(first)
                continue
            }
            index += 1
            guard let low = first.singleScalar, next != "[", let high = try member().singleScalar, low <= high else {
                throw unsupported
            }
            set.add(ScalarSet([low...high]))
        }
        guard take("]") else { throw unsupported }
        set = set.ignoringCase(ignoringCase)
        return inverted ? set.inverted : set
    }

    private mutating func member() throws -> ScalarSet {
        guard let scalar = next else { throw unsupported }
        if scalar == "\\" { return try escape() }
        index += 1
        return ScalarSet([scalar...scalar])
    }

    /// The set that an escape sequence matches, outside or within brackets.
    private mutating func escape() throws -> ScalarSet {
        index += 1
        guard let scalar = next else { throw unsupported }
        index += 1
        switch scalar {
        case "s": return ScalarSet(.space)
        case "S": return ScalarSet(.noSpace)
        case "d": return ScalarSet(.decimalNumber)
        case "D": return ScalarSet(Categories.decimalNumber.complement)
        case "w": return ScalarSet(.word)
        case "W": return ScalarSet(.noWord)
        case "p", "P": return try property(inverted: scalar == "P")
        case "n": return ScalarSet(["\n"..."\n"])
        case "r": return ScalarSet(["\r"..."\r"])
        case "t": return ScalarSet(["\t"..."\t"])
        case "u", "x": return try code(scalar)
        default:
            // Other letters and digits would have a meaning; all other characters represent themselves.
            guard scalar.isASCII, !("a"..."z" ~= scalar || "A"..."Z" ~= scalar || "0"..."9" ~= scalar) else {
                throw unsupported
            }
            return ScalarSet([scalar...scalar])
        }
    }

    private mutating func property(inverted: Bool) throws -> ScalarSet {
        guard take("{"), let close = text[index...].firstIndex(of: "}") else { throw unsupported }
        var name = String(String.UnicodeScalarView(text[index..<close]))
        index = close + 1
        let caret = name.hasPrefix("^")
        if caret { name.removeFirst() }
        guard let categories = Categories(name: name) else { throw unsupported }
        return ScalarSet(inverted != caret ? categories.complement : categories)
    }

    /// The character of \u1234, \x12 or \x{12345}.
    private mutating func code(_ kind: Unicode.Scalar) throws -> ScalarSet {
        let braces = kind == "x" && take("{")
        let start = index
        while let scalar = next, scalar.properties.isASCIIHexDigit, braces || index - start < (kind == "u" ? 4 : 2) {
            index += 1
        }
        let digits = String(String.UnicodeScalarView(text[start..<index]))
        guard !digits.isEmpty, kind != "u" || digits.utf8.count == 4, !braces || take("}"),
            let number = UInt32(digits, radix: 16), let scalar = Unicode.Scalar(number),
            kind == "u" || braces || number < 0x80
        else { throw unsupported }
        return ScalarSet([scalar...scalar])
    }
}
