import Foundation

/// A message of a chat.
public struct ChatMessage: Sendable, Codable, Equatable {
    public enum Role: String, Sendable, Codable { case system, user, assistant }

    public var role: Role
    public var content: String

    public init(role: Role, content: String) {
        (self.role, self.content) = (role, content)
    }
}

/// A model's chat template as pieces of text around the messages, as manifest.json holds it (docs/formats.md, "Chats").
public struct ChatFormat: Codable, Sendable, Equatable {
    /// What is stripped from one end of a message's content.
    public enum Strip: String, Codable, Sendable { case none, newlines, space }

    /// The text before and after a message's content, and what is stripped from the content's ends.
    public struct Slot: Codable, Sendable, Equatable {
        let before, after: String
        let left, right: Strip
    }

    /// Reasoning that is removed from earlier answers: everything up to the last `end`. `strip` is then stripped from the
    /// beginning of the rest.
    public struct Thought: Codable, Sendable, Equatable {
        let end: String
        let strip: Strip
    }

    let opening: Slot
    let system, first: Slot?
    let user, assistant: Slot
    let generation: String
    let thought: Thought?

    /// Whether the model takes a system message.
    public var takesSystemMessage: Bool { system != nil && first != nil }

    /// Returns the prompt for an optional system message, then user and assistant messages in turns, the user's last. It
    /// ends with the text that makes the model answer. Where the template writes BOS, the prompt contains it: encode it
    /// without special tokens.
    ///
    /// `now` and `zone` fill in the dates that some templates contain. Throws `ChatError`.
    public func prompt(_ messages: [ChatMessage], now: Date = Date(), zone: TimeZone = .current) throws -> String {
        let hasSystem = messages.first?.role == .system
        let turns = messages.dropFirst(hasSystem ? 1 : 0)
        let expected: [ChatMessage.Role] = turns.indices.map { ($0 - turns.startIndex) % 2 == 0 ? .user : .assistant }
        guard turns.count % 2 == 1, turns.map(\.role) == expected else { throw ChatError.order }
        var slots = [opening]
        if hasSystem {
            guard let system, let first else { throw ChatError.noSystemMessage }
            slots = [system, first]
        }
        slots += messages.dropFirst(slots.count).map { $0.role == .user ? user : assistant }
        var text = ""
        for (slot, message) in zip(slots, messages) {
            var content = message.content
            if message.role != .assistant {
                if stripped(content, .space, .space).isEmpty { throw ChatError.blank(message.role) }
            } else if let thought, let end = content.range(of: thought.end, options: [.literal, .backwards]) {
                content = stripped(String(content[end.upperBound...]), thought.strip, .none)
            }
            text += fillingDates(slot.before, now, zone) + stripped(content, slot.left, slot.right)
            text += fillingDates(slot.after, now, zone)
        }
        return text + fillingDates(generation, now, zone)
    }
}

/// Why there is no prompt for a chat.
public enum ChatError: LocalizedError, Equatable {
    case order, noSystemMessage, blank(ChatMessage.Role)

    public var errorDescription: String? {
        switch self {
        case .order: "A chat is an optional system message, then questions and answers in turns, ending with a question."
        case .noSystemMessage: "This model takes no system prompt: remove it in the settings."
        case .blank(.system): "The system prompt is blank: write one or remove it."
        case .blank: "The message is blank: write something."
        }
    }
}

/// Whether Python's `str.strip`, which templates are written for, removes a character; Swift's character sets differ.
private func isSpace(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x09...0x0D, 0x1C...0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: true
    default: false
    }
}

private func stripped(_ text: String, _ left: ChatFormat.Strip, _ right: ChatFormat.Strip) -> String {
    func isStripped(_ strip: ChatFormat.Strip) -> (Unicode.Scalar) -> Bool {
        switch strip {
        case .none: { _ in false }
        case .newlines: { $0 == "\n" }
        case .space: isSpace
        }
    }
    let rest = text.unicodeScalars.drop(while: isStripped(left))
    let end = rest.lastIndex { !isStripped(right)($0) }.map(rest.index(after:)) ?? rest.startIndex
    return String(rest[..<end])
}

/// Replaces the strftime patterns, each of which stands between two U+0000. An app never sets its C locale, so names of
/// days and months are English.
private func fillingDates(_ piece: String, _ now: Date, _ zone: TimeZone) -> String {
    let parts = piece.unicodeScalars.split(separator: "\0", omittingEmptySubsequences: false).map { String($0) }
    guard parts.count > 1 else { return piece }
    var seconds = time_t(now.timeIntervalSince1970.rounded(.down)) + time_t(zone.secondsFromGMT(for: now))
    var time = tm()
    gmtime_r(&seconds, &time)
    return parts.enumerated().map { number, part in
        guard number % 2 == 1 else { return part }
        var buffer = [CChar](repeating: 0, count: 64 * part.utf8.count + 1)
        let count = strftime(&buffer, buffer.count, part, &time)
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }.joined()
}
