/// Lets text through up to the first of some sequences, and holds back what may be the beginning of one. Works on
/// UTF-8, since in Swift a sequence and a character that combines with its end are one `Character`.
struct StopSequences {
    private let sequences: [[UInt8]]
    private var held: [UInt8] = []

    init(_ sequences: [String]) {
        self.sequences = sequences.filter { !$0.isEmpty }.map { Array($0.utf8) }
    }

    /// The text that may be shown, and whether a sequence came behind it.
    mutating func push(_ text: String) -> (text: String, stopped: Bool) {
        held += text.utf8
        for start in held.indices {
            let rest = held[start...]
            if sequences.contains(where: rest.starts(with:)) { return (take(start), true) }
            if sequences.contains(where: { $0.starts(with: rest) }) { return (take(start), false) }
        }
        return (take(held.count), false)
    }

    /// What was held back and turned out to be text, and whether a sequence came behind it: a shorter one may be whole
    /// within the beginning of a longer one, which now never comes.
    mutating func end() -> (text: String, stopped: Bool) {
        for start in held.indices where sequences.contains(where: held[start...].starts(with:)) {
            return (take(start), true)
        }
        return (take(held.count), false)
    }

    private mutating func take(_ count: Int) -> String {
        defer { held.removeFirst(count) }
        return String(decoding: held[..<count], as: UTF8.self)
    }
}
