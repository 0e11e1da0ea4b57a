import Foundation

@testable import EdgeSWKit

/// What scripts/swift_goldens/generation.py recorded from `edgesw generate`.
struct Recording: Decodable {
    struct Case: Decodable {
        let prompt, text: String
        let most: Int
        let ids, tokens, fed: [Int]
    }
    let context, vocabulary: Int
    let cases: [Case]

    static func load() throws -> Recording { try Goldens.json("generation/generation.json") }

    /// The logits after each sequence of tokens that was fed.
    func logits() throws -> [[Int]: [Float]] {
        let bytes = try Goldens.data("generation/logits.bin")
        var values = [Float](repeating: 0, count: bytes.count / 4)
        _ = values.withUnsafeMutableBytes { bytes.copyBytes(to: $0) }
        var (table, row): ([[Int]: [Float]], Int) = ([:], 0)
        for each in cases {
            for count in 1...each.fed.count {
                table[Array(each.fed[..<count])] = Array(values[row * vocabulary..<(row + 1) * vocabulary])
                row += 1
            }
        }
        precondition(row * vocabulary == values.count, "logits.bin belongs to another recording")
        return table
    }

    static func tokenizer(eos: Int? = nil) throws -> Tokenizer {
        let tokens = try JSONDecoder().decode(Manifest.self, from: Goldens.data("generation/manifest.json")).tokenizer
        return try Tokenizer(
            json: Goldens.data("generation/tokenizer.json"), prefixIDs: tokens.prefixIDs, suffixIDs: tokens.suffixIDs,
            stopIDs: eos.map { [$0] } ?? tokens.stopIDs)
    }
}

/// Returns the logits that were recorded after the tokens in its cache. For other tokens it throws, so that a loop which
/// feeds a token twice, or skips one, fails.
actor ScriptedEngine: InferenceEngine {
    struct Unknown: Error { let tokens: [Int] }

    let context: Int
    private(set) var cache: [Int] = []
    private(set) var calls: [[Int]] = []
    private(set) var isBusy = false
    private var table: [[Int]: [Float]]
    private let rewinds: Bool
    private var delay: Duration?
    private let failingCall: Int?

    var count: Int { cache.count }

    init(_ recording: Recording, rewinds: Bool = true, delay: Duration? = nil, failingCall: Int? = nil) throws {
        (context, table) = (recording.context, try recording.logits())
        (self.rewinds, self.delay, self.failingCall) = (rewinds, delay, failingCall)
    }

    func logits(after tokens: [Int]) async throws -> [Float] {
        isBusy = true
        defer { isBusy = false }
        // In a separate task: like a model that computes, it does not end early when it is cancelled.
        if let delay { await Task { try? await Task.sleep(for: delay) }.value }
        calls.append(tokens)
        cache += tokens
        if calls.count == failingCall { throw Unknown(tokens: cache) }
        guard !tokens.isEmpty, cache.count <= context, let row = table[cache] else { throw Unknown(tokens: cache) }
        return row
    }

    func rewind(to count: Int) {
        cache.removeLast(cache.count - (rewinds ? count : 0))
    }

    func removeDelay() { delay = nil }

    func spoil(_ tokens: [Int], with value: Float) { table[tokens]?[7] = value }
}

/// All events of a stream.
struct Events {
    var text = ""
    var progress: [Int] = []
    var reason: FinishReason?
    var metrics = GenerationMetrics()

    init(
        _ stream: AsyncThrowingStream<GenerationEvent, Error>, each: (GenerationEvent) async -> Void = { _ in }
    ) async throws {
        for try await event in stream {
            precondition(reason == nil, "an event after the last one")
            switch event {
            case .text(let part): text += part
            case .promptProgress(let done, _): progress.append(done)
            case .finished(let finish, let measured): (reason, metrics) = (finish, measured)
            }
            await each(event)
        }
    }
}
