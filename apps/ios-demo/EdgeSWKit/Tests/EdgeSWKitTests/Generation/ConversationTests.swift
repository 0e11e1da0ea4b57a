import Foundation
import Testing

@testable import EdgeSWKit

@Suite("Conversations")
struct ConversationTests {
    private struct Chats: Decodable {
        struct Template: Decodable {
            let name: String
            let chat: ChatFormat
        }
        let templates: [Template]
    }
    private let tokenizer: Tokenizer
    private let format: ChatFormat

    init() throws {
        tokenizer = try Recording.tokenizer()
        let chats: Chats = try Goldens.json("chats.json")
        format = try #require(chats.templates.first { $0.name == "chatml" }).chat
    }

    @Test("drop the oldest exchanges, but never the system prompt, and say how many: a long chat can continue")
    func dropping() throws {
        var chat = Conversation(format: format, system: "Be brief.")
        var (prompts, drops): ([String], [Int]) = ([], [])
        for turn in 0..<40 {
            chat.messages.append(ChatMessage(role: .user, content: "Question \(turn)?"))
            let prompt = try chat.prompt(tokenizer: tokenizer, context: 1000, answer: 60)
            #expect(tokenizer.encode(prompt, addSpecialTokens: false).count <= 940)
            #expect(prompt.hasPrefix("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nQuestion \(chat.dropped / 2)?"))
            #expect(prompt.hasSuffix("Question \(turn)?<|im_end|>\n<|im_start|>assistant\n"))
            prompts.append(prompt)
            drops.append(chat.dropped)
            chat.messages.append(ChatMessage(role: .assistant, content: "Answer \(turn)."))
        }
        #expect(drops.first == 0 && drops == drops.sorted() && drops.last! > 40)
        let extending = zip(prompts, prompts.dropFirst()).filter { $1.hasPrefix($0) }.count
        #expect(extending >= 25, "most prompts extend the one before, so that the cache can be reused")
    }

    @Test("make room for an answer that already fills more than half of the context")
    func longAnswer() throws {
        var chat = Conversation(format: format)
        for turn in 0..<8 {
            chat.messages.append(ChatMessage(role: .user, content: "Question \(turn)?"))
            chat.messages.append(ChatMessage(role: .assistant, content: "Answer \(turn)."))
        }
        chat.messages.removeLast()
        let all = try format.prompt(chat.messages)
        let context = tokenizer.encode(all, addSpecialTokens: false).count * 2, written = context * 3 / 5
        let prompt = try chat.prompt(tokenizer: tokenizer, context: context, answer: 32 + written)
        #expect(tokenizer.encode(prompt, addSpecialTokens: false).count + written + 32 <= context)
        #expect(chat.dropped > 0 && prompt.contains("Question 7?"))
        let tight = try chat.prompt(tokenizer: tokenizer, context: context, answer: context - 1)
        #expect(tight.contains("Question 7?") && chat.dropped == 14, "the last question stays, however little room it leaves")
    }

    @Test("that are restored begin with the same message as before")
    func restored() throws {
        var chat = Conversation(format: format, dropped: 4)
        for turn in 0..<4 {
            chat.messages.append(ChatMessage(role: .user, content: "Question \(turn)?"))
            chat.messages.append(ChatMessage(role: .assistant, content: "Answer \(turn)."))
        }
        chat.messages.removeLast()
        let prompt = try chat.prompt(tokenizer: tokenizer, context: 2000)
        #expect(chat.dropped == 4 && prompt.contains("Question 2?") && !prompt.contains("Question 1?"))
        chat = Conversation(format: format, dropped: 9)  // more than there are messages: the last question stays
        chat.messages = [ChatMessage(role: .user, content: "Question?")]
        #expect(try chat.prompt(tokenizer: tokenizer, context: 2000).contains("Question?") && chat.dropped == 0)
    }

    @Test("whose last question alone is too long are refused")
    func tooLong() throws {
        var chat = Conversation(format: format)
        chat.messages = [ChatMessage(role: .user, content: String(repeating: "long ", count: 300))]
        #expect(throws: GenerationError.self) { try chat.prompt(tokenizer: tokenizer, context: 400) }
        chat.messages = [ChatMessage(role: .user, content: "short")]
        #expect(try chat.prompt(tokenizer: tokenizer, context: 400).contains("You are a test."))
    }
}
