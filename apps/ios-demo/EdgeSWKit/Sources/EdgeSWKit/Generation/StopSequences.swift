/// Passes text on up to the first stop sequence, and holds back text that may be the beginning of one. Works on UTF-8,
/// since Swift merges the end of a sequence and a combining character after it into one `Character`.
struct StopSequences {
    private let sequences: [[UInt8]]
    private var pending: [UInt8] = []

    init(_ sequences: [String]) {
        self.sequences = sequences.filter { !$0.isEmpty }.map { Array($0.utf8) }
    }

    /// Returns the text that may be shown, and whether a stop sequence follows it.
    mutating func push(_ text: String) -> (text: String, stopped: Bool) {
        pending += text.utf8
        for start in pending.indices {
            let rest = pending[start...]
            if sequences.contains(where: rest.starts(with:)) { return (take(start), true) }
            if sequences.contains(where: { $0.starts(with: rest) }) { return (take(start), false) }
        }
        return (take(pending.count), false)
    }

    /// Returns the text that was held back, and whether a stop sequence follows it: a short sequence may be contained in
    /// the beginning of a longer one, which is never completed now.
    mutating func end() -> (text: String, stopped: Bool) {
        for start in pending.indices where sequences.contains(where: pending[start...].starts(with:)) {
            return (take(start), true)
        }
        return (take(pending.count), false)
    }

    private mutating func take(_ count: Int) -> String {
        defer { pending.removeFirst(count) }
        return String(decoding: pending[..<count], as: UTF8.self)
    }
}
