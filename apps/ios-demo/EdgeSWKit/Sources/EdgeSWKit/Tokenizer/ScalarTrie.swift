/// Finds texts that begin at a place of another text.
struct ScalarTrie: Sendable {
    private var children: NumberTable
    private var values: [Int32] = [-1]

    init(capacity: Int) { children = NumberTable(capacity: capacity) }

    /// Of two equal texts the first keeps its value, or if `replacing` the last.
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

    /// Calls `found` with end and value of each text that begins at `start`, the shortest first.
    @inline(__always)
    func matches(_ text: ArraySlice<Unicode.Scalar>, from start: Int, _ found: (_ end: Int, _ value: Int) -> Void) {
        var node: Int32 = 0
        var at = start
        while at < text.endIndex, let child = children[NumberTable.key(node, Int32(text[at].value))] {
            (node, at) = (child, at + 1)
            if values[Int(node)] >= 0 { found(at, Int(values[Int(node)])) }
        }
    }
}
