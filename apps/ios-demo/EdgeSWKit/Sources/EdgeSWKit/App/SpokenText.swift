import Foundation

/// Splits streamed text into whole sentences for VoiceOver, since each announcement interrupts the one before it.
public struct SpokenText: Sendable {
    private var pending = ""
    /// The minimum length of a piece. Shorter ones wait for the next sentence.
    private let minimum: Int

    public init(minimum: Int = 40) {
        self.minimum = minimum
    }

    /// Returns what to speak now: all complete sentences, or nil if there are none.
    public mutating func push(_ text: String) -> String? {
        pending += text
        guard pending.count >= minimum, let end = Self.lastEnd(in: pending) else { return nil }
        let ready = pending[..<end].trimmingCharacters(in: .whitespacesAndNewlines)
        pending = String(pending[end...])
        return ready.isEmpty ? nil : ready
    }

    /// Returns what is left when the answer ends.
    public mutating func end() -> String? {
        defer { pending = "" }
        let rest = pending.trimmingCharacters(in: .whitespacesAndNewlines)
        return rest.isEmpty ? nil : rest
    }

    /// The end of the last complete sentence. A full stop ends a sentence only if a space follows: `3.5` is a number.
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
