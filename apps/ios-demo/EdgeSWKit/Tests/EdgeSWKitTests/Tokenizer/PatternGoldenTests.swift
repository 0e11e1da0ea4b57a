import Foundation
import Testing

@testable import EdgeSWKit

/// Patterns split words: where one matches differently from Oniguruma, a text becomes other tokens.
@Suite(.enabled(if: Goldens.areGenerated, Goldens.hint))
struct PatternGoldenTests {
    struct Cut: Decodable {
        let pattern: String
        let text: String
        let parts: [String]
        let between: [String]
    }

    @Test("Patterns match as Oniguruma does")
    func patterns() throws {
        let cuts: [Cut] = try Goldens.json("tokenizers/patterns.json")
        #expect(cuts.count > 5_000)
        var patterns: [String: Pattern] = [:]
        for cut in cuts {
            let pattern = try patterns[cut.pattern] ?? Pattern(cut.pattern)
            patterns[cut.pattern] = pattern
            let pieces = [Piece(Array(cut.text.unicodeScalars)[...], isFirst: true)]
            func parts(_ behavior: PreTokenizer.Behavior) -> [String] {
                PreTokenizer.split(pattern, behavior, inverted: false).apply(cut.text.isEmpty ? [] : pieces).map {
                    String(String.UnicodeScalarView($0.text))
                }
            }
            let (isolated, removed) = (parts(.isolated), parts(.removed))
            guard isolated.count == cut.parts.count, zip(isolated, cut.parts).allSatisfy(isSame),
                removed.count == cut.between.count, zip(removed, cut.between).allSatisfy(isSame)
            else {
                Issue.record(
                    """
                    '\(cut.pattern)' on '\(shown(cut.text))': \(isolated.map(shown)), \(removed.map(shown)), \
                    expected \(cut.parts.map(shown)), \(cut.between.map(shown))
                    """)
                return
            }
        }
    }

    @Test("Every character is a letter, a number or a space exactly where the library says so")
    func classes() throws {
        let classes: [String: [[UInt32]]] = try Goldens.json("tokenizers/classes.json")
        #expect(classes.count > 20)
        for (source, ranges) in classes {
            let pattern = try Pattern(source)
            var found: [[UInt32]] = []
            let codes = [Array(0...0xD7FF), Array(0xE000...0x33FFF), Array(0xE0000...0xE01FF)].joined()
            var before: UInt32?
            for value in codes.map(UInt32.init) {
                if pattern.end([Unicode.Scalar(value)!], from: 0) != nil {
                    if let last = found.last, last[1] == before {
                        found[found.count - 1][1] = value
                    } else {
                        found.append([value, value])
                    }
                }
                before = value
            }
            let different = Set(found).symmetricDifference(ranges).sorted { $0[0] < $1[0] }
            let names = different.prefix(8).map { String($0[0], radix: 16) + "-" + String($0[1], radix: 16) }
            #expect(different.isEmpty, "\(source): \(different.count) ranges differ: \(names)")
        }
    }

    @Test("A pattern outside the supported subset is refused by name, not matched differently", arguments: [
        "[", "(", ")", "a)", "*", "(?<=a)b", "(?s:.)", "[[:alpha:]]", "[a&&b]", "a*?", "(?>a)", "(a*)*", #"\bx"#, #"\h"#,
        #"\p{Han}"#, #"\p{"#, "[z-a]", "a{2,1}", "a{99999999999999999999}", "((a{4000}){4000}){4000}", #"\"#, "[a", "(?i)x",
    ])
    func refused(_ source: String) {
        #expect(throws: TokenizerError.self) { try Pattern(source) }
    }
}
