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

/// A model's chat template as pieces of text around the messages: `chat` of manifest.json (docs/formats.md, "Chats").
public struct ChatForm: Codable, Sendable, Equatable {
    /// What a content loses at one of its ends.
    public enum Strip: String, Codable, Sendable { case none, newlines, space }

    /// A message's place: what stands before and after its content, and what its content loses at its ends.
    public struct Slot: Codable, Sendable, Equatable {
        let before, after: String
        let left, right: Strip
    }

    /// Reasoning that earlier answers lose: all to the last `end`, and `strip` at the beginning of what is left.
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

    /// The prompt for a system message or none, then user and assistant in turns, the user last; what makes the model
    /// answer is at its end. BOS is in it where the template writes it: encode it with `bos: false`.
    ///
    /// `now` and `zone` fill the dates that some templates want. Throws `ChatError`.
    public func prompt(_ messages: [ChatMessage], now: Date = Date(), zone: TimeZone = .current) throws -> String {
        let led = messages.first?.role == .system
        let turns = messages.dropFirst(led ? 1 : 0)
        let expected: [ChatMessage.Role] = turns.indices.map { ($0 - turns.startIndex) % 2 == 0 ? .user : .assistant }
        guard turns.count % 2 == 1, turns.map(\.role) == expected else { throw ChatError.order }
        var slots = [opening]
        if led {
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
            text += dated(slot.before, now, zone) + stripped(content, slot.left, slot.right)
            text += dated(slot.after, now, zone)
        }
        return text + dated(generation, now, zone)
    }
}

/// Why there is no prompt for a chat.
public enum ChatError: LocalizedError, Equatable {
    case order, noSystemMessage, blank(ChatMessage.Role)

    public var errorDescription: String? {
        switch self {
        case .order: "A chat is a system message or none, then questions and answers in turns, a question last."
        case .noSystemMessage: "This model takes no system prompt: remove it in the settings."
        case .blank(.system): "The system prompt is blank: write one or remove it."
        case .blank: "The message is blank: write something."
        }
    }
}

/// White space of Python's `str.strip`, which templates are written for; Swift's sets have other characters.
private func isSpace(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x09...0x0D, 0x1C...0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: true
    default: false
    }
}

private func stripped(_ text: String, _ left: ChatForm.Strip, _ right: ChatForm.Strip) -> String {
    func goes(_ strip: ChatForm.Strip) -> (Unicode.Scalar) -> Bool {
        switch strip {
        case .none: { _ in false }
        case .newlines: { $0 == "\n" }
        case .space: isSpace
        }
    }
    let rest = text.unicodeScalars.drop(while: goes(left))
    let end = rest.lastIndex { !goes(right)($0) }.map(rest.index(after:)) ?? rest.startIndex
    return String(rest[..<end])
}

/// With the strftime patterns between two U+0000 filled. An app's C locale is never set, so names are English.
private func dated(_ piece: String, _ now: Date, _ zone: TimeZone) -> String {
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
