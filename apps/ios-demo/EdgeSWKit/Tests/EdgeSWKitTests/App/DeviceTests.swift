import Testing

@testable import EdgeSWKit

@Suite("What the device says, what is spoken, what is compared")
struct DeviceTests {
    @Test("Short of memory is said before the system ends the app, and never where it has no limit",
          arguments: [(100_000_000, 1_000_000_000, true), (149_999_999, 0, true), (150_000_000, 2_000_000_000, false),
                      (300_000_000, 6_000_000_000, true), (320_000_000, 6_000_000_000, false)])
    func memory(available: Int, used: Int, short: Bool) {
        #expect(DeviceReading(used: used, available: available, heat: .nominal).isShort == short)
        #expect(!DeviceReading(used: used, available: nil, heat: .nominal).isShort)
    }

    @Test("A model that cannot fit is warned of before minutes of compiling")
    func tight() {
        let reading = DeviceReading(used: nil, available: 3_000_000_000, heat: .fair)
        #expect(reading.isTight(forWeights: 4_100_000_000) && !reading.isTight(forWeights: 95_000_000))
        #expect(!DeviceReading(used: nil, available: nil, heat: .fair).isTight(forWeights: 4_100_000_000))
        #expect(!reading.isThrottled && DeviceReading(used: nil, available: nil, heat: .serious).isThrottled)
    }

    @Test("VoiceOver gets sentences: word by word each would cut off the last; nothing of the answer is lost")
    func sentences() {
        var spoken = SpokenText(least: 10)
        var said: [String] = []
        for piece in ["The cap", "ital is", " Paris. It", " has 2.1 million people.", " More", "\n", "日本です。終", "わり"] {
            if let text = spoken.push(piece) { said.append(text) }
        }
        if let rest = spoken.end() { said.append(rest) }
        #expect(said == ["The capital is Paris.", "It has 2.1 million people.", "More\n日本です。", "終わり"])
        let nothing = spoken.end()
        #expect(nothing == nil)
    }

    @Test("Only answers to the same question stand side by side")
    func comparison() {
        var comparison = Comparison()
        comparison.begin("Tea?", corrected: true)
        comparison.receive("First boil", corrected: true)
        #expect(comparison.agreement == nil)
        comparison.finish(corrected: true)
        comparison.begin("Tea?", corrected: false)
        comparison.receive("First the the the", corrected: false)
        #expect(comparison.agreement == nil, "an answer that is not over says nothing yet")
        comparison.finish(corrected: false)
        #expect(comparison[true]?.text == "First boil" && comparison.agreement == 6)
        comparison.begin("Tea?", corrected: true)
        #expect(comparison[true] == Comparison.Answer() && comparison[false]?.isComplete == true)
        comparison.begin("Tea?", corrected: false)
        #expect(comparison[true] == nil, "half an answer beside a whole one would look like a broken model")
        comparison.begin("Coffee?", corrected: false)
        #expect(comparison[true] == nil && comparison[false] == Comparison.Answer())
    }
}
