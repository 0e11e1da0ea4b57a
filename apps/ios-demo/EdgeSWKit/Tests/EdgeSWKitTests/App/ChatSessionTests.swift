import Foundation
import Testing

@testable import EdgeSWKit

/// `#expect` does not take mutating calls.
private func check(_ passed: Bool, _ comment: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation) {
    #expect(passed, comment, sourceLocation: sourceLocation)
}

@Suite("The chat screen's session")
struct ChatSessionTests {
    private func answered(_ text: String = "Paris.") -> ChatSession {
        var session = ChatSession()
        check(session.send("  The capital of France?\n"))
        session.read(3, of: 7)
        session.receive(text)
        return session
    }

    @Test("A second question is refused while the first is being answered: the answers would mix")
    func wholeExchange() {
        var session = answered()
        check(!session.send("And of Spain?"))
        #expect(session.turns.map(\.text) == ["The capital of France?", "Paris."])
        session.finish()
        #expect(session.state == .idle)
        check(session.send("And of Spain?"))
        #expect(session.promptTurns.map(\.text) == ["The capital of France?", "Paris.", "And of Spain?"])
        #expect(session.partialAnswer.isEmpty)
    }

    @Test("An empty question is refused: the model would answer nothing")
    func emptyQuestion() {
        var session = ChatSession()
        check(!session.send(" \n"))
        #expect(session.turns.isEmpty && session.state == .idle)
    }

    @Test("After a stop the answer stays, text that still arrives is dropped, and the answer can be continued",
          arguments: [ChatSession.Interruption.stopped, .background, .memory, .length, .context, .failed])
    func interrupted(why: ChatSession.Interruption) {
        var session = answered("Par")
        session.interrupt(why)
        session.receive("late")
        #expect(session.partialAnswer == "Par" && session.state == .interrupted(why))
        check(session.canContinue && session.resume() && session.isRunning)
        #expect(session.promptTurns.map(\.text) == ["The capital of France?"])
        session.receive("is")
        session.finish()
        #expect(session.turns.map(\.text) == ["The capital of France?", "Paris"])
    }

    @Test("An answer in a full context cannot be continued: the same error would occur at once")
    func fullContext() {
        var session = answered()
        session.interrupt(.full)
        check(!session.canContinue && !session.resume())
        #expect(session.canRegenerate)
    }

    @Test("A context full of older exchanges does not end a conversation: the answer continues without the oldest")
    func fullOfOlderExchanges() {
        var session = answered()
        session.finish()
        check(session.send("And of Spain?"))
        session.receive("Mad")
        var plain = session
        plain.fillContext(dropsOldest: false)
        #expect(plain.state == .interrupted(.full), "plain text has no messages to leave out")
        session.fillContext(dropsOldest: true)
        #expect(session.state == .interrupted(.context))
        check(session.canContinue && session.resume())
        session.dropped = 2
        session.receive("rid")
        session.fillContext(dropsOldest: true)
        #expect(session.state == .interrupted(.full), "only one exchange is left")
        #expect(session.partialAnswer == "Madrid")
    }

    @Test("One exchange that fills the context alone leaves nothing to drop")
    func fullOfOneExchange() {
        var session = answered()
        session.fillContext(dropsOldest: true)
        #expect(session.state == .interrupted(.full) && !session.canContinue)
    }

    @Test("If memory ran out before the first word, continuing asks the same question, and no empty answer is left")
    func interruptedWhileReading() {
        var session = ChatSession()
        check(session.send("Hello"))
        session.interrupt(.memory)
        check(session.canContinue && session.resume())
        #expect(session.turns.count == 1 && session.partialAnswer.isEmpty)
        session.interrupt(.stopped)
        check(session.send("Another"))
        #expect(session.turns.map(\.text) == ["Another"], "two questions in a row are refused by many chat templates")
    }

    @Test("Regenerate replaces only the last answer")
    func regenerate() {
        var session = answered()
        check(!session.regenerate(), "an answer that is being written must be stopped first")
        session.finish()
        check(session.regenerate())
        #expect(session.turns.map(\.text) == ["The capital of France?"])
        session.receive("Lyon?")
        session.finish()
        #expect(session.turns.map(\.text) == ["The capital of France?", "Lyon?"])
        var nothing = ChatSession()
        check(!nothing.regenerate())
    }

    @Test("A stop after the end changes nothing: 'stopped' under a complete answer would be wrong")
    func lateInterruption() {
        var session = answered()
        session.finish()
        session.interrupt(.background)
        #expect(session.state == .idle)
    }

    @Test("An app that the system ended during an answer restores it, ready to be continued")
    func restored() throws {
        let session = answered("Par")
        let back = try JSONDecoder().decode(ChatSession.self, from: JSONEncoder().encode(session))
        #expect(back.turns == session.turns)
        #expect(back.state == .interrupted(.background) && back.canContinue)
        var whole = answered()
        whole.finish()
        #expect(try JSONDecoder().decode(ChatSession.self, from: JSONEncoder().encode(whole)) == whole)
    }
}
