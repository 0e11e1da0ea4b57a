import Foundation

/// Cuts streamed text into pieces for VoiceOver: whole sentences, since each announcement interrupts the one before it.
public struct SpokenText: Sendable {
    private var waiting = ""
    /// A piece shorter than this waits for the next sentence.
    private let least: Int

    public init(least: Int = 40) {
        self.least = least
    }

    /// What is to be spoken now: all sentences that have ended; nil while none has.
    public mutating func push(_ text: String) -> String? {
        waiting += text
        guard waiting.count >= least, let end = Self.lastEnd(in: waiting) else { return nil }
        let ready = waiting[..<end].trimmingCharacters(in: .whitespacesAndNewlines)
        waiting = String(waiting[end...])
        return ready.isEmpty ? nil : ready
    }

    /// What is left when the answer ends.
    public mutating func end() -> String? {
        defer { waiting = "" }
        let rest = waiting.trimmingCharacters(in: .whitespacesAndNewlines)
        return rest.isEmpty ? nil : rest
    }

    /// Behind the last sentence that has ended. A full stop ends one only when a space follows: `3.5` is a number.
    private static func lastEnd(in text: String) -> String.Index? {
        var index = text.endIndex
        while index > text.startIndex {
            let before = text.index(before: index)
            let mark = text[before]
            if mark == "\n" || mark == "。" || mark == "！" || mark == "？" { return index }
            if ".!?:".contains(mark), index < text.endIndex, text[index].isWhitespace { return index }
            index = before
        }
        return nil
    }
}
