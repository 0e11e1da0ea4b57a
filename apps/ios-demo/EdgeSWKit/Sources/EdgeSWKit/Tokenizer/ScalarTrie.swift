/// A trie of texts, which finds those that begin at a position in another text.
struct ScalarTrie: Sendable {
    private var children: NumberTable
    private var values: [Int32] = [-1]

    init(capacity: Int) { children = NumberTable(capacity: capacity) }

    /// A text that is added twice keeps its first value, or takes the last one if `replacing`.
    mutating func add(_ text: some Sequence<Unicode.Scalar>, _ value: Int, replacing: Bool = false) {
        var node: Int32 = 0
        for scalar in text {
            let key = NumberTable.key(node, Int32(scalar.value))
            if let child = children[key] {
                node = child
            } else {
                node = Int32(values.count)
                children.set(key, node)
                values.append(-1)
            }
        }
        if values[Int(node)] < 0 || replacing { values[Int(node)] = Int32(value) }
    }

    /// Calls `found` with the end and the value of each text that begins at `start`, the shortest first.
    @inline(__always)
    func matches(_ text: ArraySlice<Unicode.Scalar>, from start: Int, _ found: (_ end: Int, _ value: Int) -> Void) {
        var node: Int32 = 0
        var index = start
        while index < text.endIndex, let child = children[NumberTable.key(node, Int32(text[index].value))] {
            (node, index) = (child, index + 1)
            if values[Int(node)] >= 0 { found(index, Int(values[Int(node)])) }
        }
    }
}
