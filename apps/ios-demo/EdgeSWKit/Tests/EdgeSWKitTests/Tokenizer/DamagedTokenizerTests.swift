import Foundation
import Testing

@testable import EdgeSWKit

/// Packages come from anywhere: whatever a tokenizer.json contains, the app reports it and keeps running.
@Suite struct DamagedTokenizerTests {
    static let small = #"""
        {"version": "1.0", "added_tokens": [{"id": 6, "content": "<s>", "special": true, "normalized": false, "rstrip": true}],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Prepend", "prepend": "a"},
          {"type": "Replace", "pattern": {"Regex": "b{2,}"}, "content": "b"}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
          {"type": "Split", "pattern": {"Regex": "\\p{L}+|[^\\s\\p{L}]+"}, "behavior": "Isolated", "invert": false},
          {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]},
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "Strip", "content": "a", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "unk_token": null, "vocab": {"a": 0, "b": 1, "ab": 2, "Ã": 3, "©": 4, "Ã©": 5}, "merges": ["a b", ["Ã", "©"]]}}
        """#
    static let unigram = #"""
        {"added_tokens": [], "normalizer": {"type": "Precompiled", "precompiled_charsmap": "CAAAAAEEAAAAAAAAYWIA"},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["▁", -2.5], ["a", -1.25e0], ["▁ab", -3.0]], "byte_fallback": false}}
        """#

    static func tokenizer(_ json: String) throws -> Tokenizer { try Tokenizer(json: Data(json.utf8)) }

    @Test("The undamaged files are read: otherwise the tests below would prove nothing")
    func undamaged() throws {
        let tokenizer = try Self.tokenizer(Self.small)
        #expect(tokenizer.encode("bbé<s>  b", addSpecialTokens: false) == [2, 5, 6, 2])
        #expect(tokenizer.decode([2, 5, 6, 1]) == "béb")
        #expect(try Self.tokenizer(Self.unigram).encode("ab a", addSpecialTokens: false) == [3, 1, 2])
    }

    @Test("A file that is truncated anywhere is refused in one line that says what to do", arguments: [small, unigram])
    func truncated(_ json: String) {
        let bytes = Array(json.utf8)
        for length in 0..<bytes.count {
            do {
                _ = try Tokenizer(json: Data(bytes[..<length]))
                Issue.record("a file cut after \(length) bytes was read")
            } catch {
                let message = (error as? TokenizerError)?.errorDescription ?? ""
                #expect(message.contains("convert the package again") && !message.contains("\n"), "\(error)")
            }
        }
    }

    @Test("A file that is changed anywhere is refused or works: nothing traps", arguments: [small, unigram])
    func edited(_ json: String) {
        let bytes = Array(json.utf8)
        var random = SplitMix64(seed: 7)
        let words = ["null", "-1", "1e999", "99999999999999999999", "[]", "{}", "\"\"", "\"▁▁\"", "true", "0.5", "\"\\ud800\"", "16777217"]
        var (read, refused) = (0, 0)
        for _ in 0..<3_000 {
            var changed = bytes
            for _ in 0...Int(random.next() % 3) {
                let at = Int(random.next() % UInt64(changed.count))
                let end = min(changed.count, at + Int(random.next() % 12))
                switch random.next() % 4 {
                case 0: changed[at] = UInt8(truncatingIfNeeded: random.next())
                case 1: changed.removeSubrange(at..<end)
                case 2: changed.insert(contentsOf: changed[at..<end], at: at)
                default:
                    // Replaces a whole value: between a colon or comma and the next comma or brace.
                    guard let start = changed[at...].firstIndex(where: { ":,[".utf8.contains($0) }),
                        let stop = changed[(start + 1)...].firstIndex(where: { ",}]".utf8.contains($0) })
                    else { continue }
                    changed.replaceSubrange((start + 1)..<stop, with: words[Int(random.next() % UInt64(words.count))].utf8)
                }
            }
            do {
                let tokenizer = try Tokenizer(json: Data(changed))
                let ids = tokenizer.encode("<s> ab bbé\u{301} \u{1F600}a<s>  b")
                _ = tokenizer.decode(ids + [-1, 5, 1 << 40], special: true)
                var stream = tokenizer.stream()
                for id in ids { _ = stream.push(id) }
                _ = stream.end()
                read += 1
            } catch { refused += 1 }
        }
        #expect(read > 100 && refused > 100, "\(read) read, \(refused) refused")
    }

    @Test("Powers of ten at the limits of Int are read or refused: nothing traps", arguments: [
        "1e-9223372036854775808", "-1.5e-9223372036854775808", "0e9223372036854775807", "1e9223372036854775807", "0.1e-9223372036854775807",
    ])
    func powers(_ number: String) {
        let scored = Self.unigram.replacingOccurrences(of: "-1.25e0", with: number)
        for json in [scored, "{\"a\": \(number)}"] {
            do { _ = try Self.tokenizer(json) } catch { #expect(error is TokenizerError, "\(error)") }
        }
    }

    @Test("What is not supported is refused by its name", arguments: [
        (#""type": "NFC""#, #""type": "BertNormalizer""#), (#""type": "Split""#, #""type": "UnicodeScripts""#),
        (#""type": "BPE""#, #""type": "WordPiece""#), (#""type": "Strip""#, #""type": "CTC""#),
        (#"b{2,}"#, #"(?<=a)b"#), (#""unk_token": null"#, #""dropout": 0.1"#),
        (#""unk_token": null"#, #""end_of_word_suffix": "</w>""#),
    ])
    func unknown(_ old: String, _ new: String) {
        let json = Self.small.replacingOccurrences(of: old, with: new)
        #expect(json != Self.small)
        do {
            _ = try Self.tokenizer(json)
            Issue.record("\(new) was accepted")
        } catch TokenizerError.unsupported(_, let name) {
            let wanted = new.split(separator: "\"").filter { !":, ".contains($0) }
            #expect(wanted.contains { name.contains($0) } || new.contains(name) || name.contains(new), "\(name)")
        } catch { Issue.record(error) }
    }

    @Test("Values nested so deeply that reading them would crash the app are refused")
    func deep() {
        for text in [String(repeating: "[", count: 100_000), String(repeating: "{\"a\":", count: 100_000)] {
            #expect(throws: TokenizerError.self) { try Self.tokenizer(text) }
        }
        let groups = String(repeating: "(", count: 50_000) + "a" + String(repeating: ")", count: 50_000)
        #expect(throws: TokenizerError.self) { try Self.tokenizer(Self.small.replacingOccurrences(of: "b{2,}", with: groups)) }
    }

    @Test("A hundred thousand merges, ten thousand added tokens and a word of a million letters take seconds, not minutes")
    func large() throws {
        let letters = (0..<400).map { String(UnicodeScalar(UInt32(0x4E00 + $0))!) }
        var (vocabulary, merges) = (letters, [String]())
        for left in letters.prefix(250) {
            for right in letters {
                vocabulary.append(left + right)
                merges.append("[\"\(left)\",\"\(right)\"]")
            }
        }
        let tokens = vocabulary.enumerated().map { "\"\($1)\":\($0)" }.joined(separator: ",")
        let added = (0..<10_000).map { "{\"id\":0,\"content\":\"<\($0)>\",\"special\":true}" }.joined(separator: ",")
        let json = """
            {"added_tokens":[\(added)],"model":{"type":"BPE","vocab":{\(tokens)},"merges":[\(merges.joined(separator: ","))]}}
            """
        let begin = ContinuousClock.now
        let tokenizer = try Self.tokenizer(json)
        #expect(tokenizer.vocabularySize == vocabulary.count + 10_000)
        let text = String(repeating: letters[0] + letters[1] + letters[300], count: 333_333)
        #expect(tokenizer.encode(text + "<9999>", addSpecialTokens: false).count == 666_667)
        #expect(ContinuousClock.now - begin < .seconds(60))
    }

    @Test("The manifest's tokens are put around a text, and around nothing else")
    func around() throws {
        let tokenizer = try Tokenizer(json: Data(Self.small.utf8), prefixIDs: [6, 5], suffixIDs: [1], stopIDs: [1, 2])
        #expect(tokenizer.encode("bb") == [6, 5, 2, 1] && tokenizer.encode("bb", addSpecialTokens: false) == [2])
        #expect(tokenizer.encode("<s>bb").filter { $0 == 6 }.count == 2, "a text that spells BOS out keeps it")
        #expect(tokenizer.stopIDs == [1, 2] && tokenizer.specialIDs == [6])
    }
}
