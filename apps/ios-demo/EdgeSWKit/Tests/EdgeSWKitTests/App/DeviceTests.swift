import Testing

@testable import EdgeSWKit

@Suite("Device readings, spoken text, comparisons")
struct DeviceTests {
    @Test("Low memory is reported before the system ends the app, and never without a limit",
          arguments: [(100_000_000, 1_000_000_000, true), (149_999_999, 0, true), (150_000_000, 2_000_000_000, false),
                      (300_000_000, 6_000_000_000, true), (320_000_000, 6_000_000_000, false)])
    func memory(available: Int, used: Int, isLow: Bool) {
        #expect(DeviceReading(used: used, available: available, thermalState: .nominal).isLowOnMemory == isLow)
        #expect(!DeviceReading(used: used, available: nil, thermalState: .nominal).isLowOnMemory)
    }

    @Test("A warning about a model that cannot fit comes before minutes of compiling")
    func tight() {
        let reading = DeviceReading(used: nil, available: 3_000_000_000, thermalState: .fair)
        #expect(reading.isTight(forWeights: 4_100_000_000) && !reading.isTight(forWeights: 95_000_000))
        #expect(!DeviceReading(used: nil, available: nil, thermalState: .fair).isTight(forWeights: 4_100_000_000))
        #expect(!reading.isThrottled && DeviceReading(used: nil, available: nil, thermalState: .serious).isThrottled)
    }

    @Test("VoiceOver receives sentences: each word would interrupt the one before; no part of the answer is lost")
    func sentences() {
        var spoken = SpokenText(minimum: 10)
        var said: [String] = []
        for piece in ["The cap", "ital is", " Paris. It", " has 2.1 million people.", " More", "\n", "日本です。終", "わり"] {
            if let text = spoken.push(piece) { said.append(text) }
        }
        if let rest = spoken.end() { said.append(rest) }
        #expect(said == ["The capital is Paris.", "It has 2.1 million people.", "More\n日本です。", "終わり"])
        let nothing = spoken.end()
        #expect(nothing == nil)
    }

    @Test("Only answers to the same question are compared")
    func comparison() {
        var comparison = Comparison()
        comparison.begin("Tea?", corrected: true)
        comparison.receive("First boil", corrected: true)
        #expect(comparison.agreement == nil)
        comparison.finish(corrected: true)
        comparison.begin("Tea?", corrected: false)
        comparison.receive("First the the the", corrected: false)
        #expect(comparison.agreement == nil, "an incomplete answer cannot be compared yet")
        comparison.finish(corrected: false)
        #expect(comparison[true]?.text == "First boil" && comparison.agreement == 6)
        comparison.begin("Tea?", corrected: true)
        #expect(comparison[true] == Comparison.Answer() && comparison[false]?.isComplete == true)
        comparison.begin("Tea?", corrected: false)
        #expect(comparison[true] == nil, "a partial answer next to a complete one would look like a broken model")
        comparison.begin("Coffee?", corrected: false)
        #expect(comparison[true] == nil && comparison[false] == Comparison.Answer())
    }
}
