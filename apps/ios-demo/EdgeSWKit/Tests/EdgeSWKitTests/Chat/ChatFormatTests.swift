import Foundation
import Testing

@testable import EdgeSWKit

private struct Chats: Decodable {
    struct Template: Decodable {
        let name: String
        let chat: ChatFormat
        let chats: [Chat]
    }
    struct Chat: Decodable {
        let messages: [ChatMessage]
        let prompt: String
    }
    let now: Double
    let templates: [Template]
}

@Suite("Chat prompts")
struct ChatFormatTests {
    private let golden: Chats = try! Goldens.json("chats.json")

    @Test("equal those of transformers' apply_chat_template byte for byte: one extra space can confuse a small model")
    func prompts() throws {
        let zone = try #require(TimeZone(secondsFromGMT: 0))
        #expect(golden.templates.count >= 12)
        for template in golden.templates {
            for chat in template.chats {
                let now = Date(timeIntervalSince1970: golden.now)
                let prompt = try template.chat.prompt(chat.messages, now: now, zone: zone)
                #expect(Array(prompt.utf8) == Array(chat.prompt.utf8), "\(template.name)")
            }
        }
    }

    @Test("contain the date in the user's time zone")
    func zones() throws {
        let dated = try #require(golden.templates.first { $0.name == "dated" })
        let new = Date(timeIntervalSince1970: 1_735_689_540)  // 31 December 2024, 23:59 UTC
        let east = try #require(TimeZone(secondsFromGMT: 3600))
        let prompt = try dated.chat.prompt([ChatMessage(role: .user, content: "x")], now: new, zone: east)
        #expect(prompt.hasPrefix("Wednesday Wed January Jan 01 01 2025 25 00:59:00 12 AM 001 %|"))
    }

    @Test("are refused in a clear line for messages in another order, blank messages and system messages that have no slot")
    func rejected() throws {
        let chatml = try #require(golden.templates.first { $0.name == "chatml" }).chat
        let turns = try #require(golden.templates.first { $0.name == "turns" }).chat
        let (system, user) = (ChatMessage(role: .system, content: "s"), ChatMessage(role: .user, content: "u"))
        let answer = ChatMessage(role: .assistant, content: "")
        for messages in [[], [system], [user, answer], [user, user], [answer, user], [user, system, user]] {
            #expect(throws: ChatError.order) { try chatml.prompt(messages) }
        }
        #expect(throws: ChatError.noSystemMessage) { try turns.prompt([system, user]) }
        #expect(!turns.takesSystemMessage && chatml.takesSystemMessage)
        #expect(throws: ChatError.blank(.user)) { try chatml.prompt([ChatMessage(role: .user, content: "\u{A0}\n")]) }
        #expect(throws: ChatError.blank(.system)) {
            try chatml.prompt([ChatMessage(role: .system, content: ""), user])
        }
        for error in [ChatError.order, .noSystemMessage, .blank(.user), .blank(.system)] {
            #expect(error.errorDescription?.hasSuffix(".") == true)
        }
    }
}
