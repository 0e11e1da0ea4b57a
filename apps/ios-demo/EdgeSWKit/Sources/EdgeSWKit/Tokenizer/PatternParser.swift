/// Reads a pattern's text; see Pattern.
struct PatternParser {
    private let source: String
    private let text: [Unicode.Scalar]
    private var at = 0
    private var depth = 0

    init(_ source: String) { (self.source, text) = (source, Array(source.unicodeScalars)) }

    mutating func parse() throws -> Pattern.Node {
        let node = try either(folded: false)
        guard at == text.count else { throw fault }
        return node
    }

    private var fault: TokenizerError { Pattern.unsupported(source) }
    private var next: Unicode.Scalar? { at < text.count ? text[at] : nil }

    private mutating func take(_ words: String) -> Bool {
        let wanted = Array(words.unicodeScalars)
        guard text[at...].starts(with: wanted) else { return false }
        at += wanted.count
        return true
    }

    private mutating func either(folded: Bool) throws -> Pattern.Node {
        depth += 1
        defer { depth -= 1 }
        guard depth < 100 else { throw fault }
        var nodes = [try sequence(folded)]
        while take("|") { nodes.append(try sequence(folded)) }
        return nodes.count == 1 ? nodes[0] : .either(nodes)
    }

    private mutating func sequence(_ folded: Bool) throws -> Pattern.Node {
        var nodes: [Pattern.Node] = []
        while let scalar = next, scalar != "|", scalar != ")" {
            var node = try atom(folded)
            while let (least, most) = try count() {
                // Behind a count in braces Ruby's + and ? are counts of their own; the lazy ones no tokenizer has.
                let braces = text[at - 1] == "}"
                if next == "?" { throw fault }
                node = .times(node, least: least, most: most, possessive: !braces && take("+"))
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
        guard let close = text[at...].firstIndex(of: "}") else { throw fault }
        let words = String(String.UnicodeScalarView(text[(at + 1)..<close]))
        let parts = words.split(separator: ",", maxSplits: 1, omittingEmptySubsequences: false)
        guard !words.isEmpty, words.unicodeScalars.allSatisfy({ "0"..."9" ~= $0 || $0 == "," }),
            let least = parts[0].isEmpty ? 0 : Int(parts[0]),
            let most = parts.count == 1 ? least : parts[1].isEmpty ? .max : Int(parts[1]), least <= most, words != ","
        else { throw fault }
        at = close + 1
        return (least, most)
    }

    private mutating func atom(_ folded: Bool) throws -> Pattern.Node {
        if take("(?:") { return try group(folded) }
        if take("(?i:") { return try group(true) }
        if take("(?=") { return .ahead(try group(folded), wanted: true) }
        if take("(?!") { return .ahead(try group(folded), wanted: false) }
        if take("(?") { throw fault }
        if take("(") { return try group(folded) }
        if take("^") { return .place(.lineStart) }
        if take("$") { return .place(.lineEnd) }
        if take("\\A") { return .place(.textStart) }
        if take("\\z") { return .place(.textEnd) }
        if take(".") { return .set(ScalarSet(["\n"..."\n"]).inverted) }
        if take("[") { return .set(try set(folded)) }
        if next == "\\" { return .set(try escape().folded(folded)) }
        guard let scalar = next, !"?*+{)".unicodeScalars.contains(scalar) else { throw fault }
        at += 1
        return .set(ScalarSet([scalar...scalar]).folded(folded))
    }

    private mutating func group(_ folded: Bool) throws -> Pattern.Node {
        let node = try either(folded: folded)
        guard take(")") else { throw fault }
        return node
    }

    /// What is behind "[".
    private mutating func set(_ folded: Bool) throws -> ScalarSet {
        var set = ScalarSet([])
        let inverted = take("^")
        guard next != "]" else { throw fault }
        while let scalar = next, scalar != "]" {
            // Sets within sets, POSIX names and intersections.
            guard scalar != "[", !(scalar == "&" && at + 1 < text.count && text[at + 1] == "&") else { throw fault }
            let first = try member()
            guard next == "-", at + 1 < text.count, text[at + 1] != "]" else {
                set.add(first)
                continue
            }
            at += 1
            guard let low = first.only, next != "[", let high = try member().only, low <= high else { throw fault }
            set.add(ScalarSet([low...high]))
        }
        guard take("]") else { throw fault }
        set = set.folded(folded)
        return inverted ? set.inverted : set
    }

    private mutating func member() throws -> ScalarSet {
        guard let scalar = next else { throw fault }
        if scalar == "\\" { return try escape() }
        at += 1
        return ScalarSet([scalar...scalar])
    }

    /// A backslash and what it means, alone or within a set.
    private mutating func escape() throws -> ScalarSet {
        at += 1
        guard let scalar = next else { throw fault }
        at += 1
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
            // Letters and digits mean something; all other characters mean themselves.
            guard scalar.isASCII, !("a"..."z" ~= scalar || "A"..."Z" ~= scalar || "0"..."9" ~= scalar) else { throw fault }
            return ScalarSet([scalar...scalar])
        }
    }

    private mutating func property(inverted: Bool) throws -> ScalarSet {
        guard take("{"), let close = text[at...].firstIndex(of: "}") else { throw fault }
        var name = String(String.UnicodeScalarView(text[at..<close]))
        at = close + 1
        let caret = name.hasPrefix("^")
        if caret { name.removeFirst() }
        guard let categories = Categories(name: name) else { throw fault }
        return ScalarSet(inverted != caret ? categories.complement : categories)
    }

    /// Of \u1234, \x12 and \x{12345}.
    private mutating func code(_ kind: Unicode.Scalar) throws -> ScalarSet {
        let braces = kind == "x" && take("{")
        let start = at
        while let scalar = next, scalar.properties.isASCIIHexDigit, braces || at - start < (kind == "u" ? 4 : 2) { at += 1 }
        let digits = String(String.UnicodeScalarView(text[start..<at]))
        guard !digits.isEmpty, kind != "u" || digits.utf8.count == 4, !braces || take("}"),
            let number = UInt32(digits, radix: 16), let scalar = Unicode.Scalar(number),
            kind == "u" || braces || number < 0x80
        else { throw fault }
        return ScalarSet([scalar...scalar])
    }
}
