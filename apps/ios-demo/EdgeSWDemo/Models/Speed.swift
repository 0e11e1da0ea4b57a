import EdgeSWKit

/// How fast the answer comes: counted here while it does, by the generator once it is over.
struct Speed: Equatable {
    private(set) var timeToFirstToken: Duration?
    private(set) var tokensPerSecond: Double?

    private var start: ContinuousClock.Instant?
    private var first: ContinuousClock.Instant?
    private var pieces = 0

    mutating func begin() {
        self = Speed()
        start = .now
    }

    /// A piece of text has come: mostly a token, now and then several that make up one character.
    mutating func token() {
        let now = ContinuousClock.now
        guard let first else {
            first = now
            timeToFirstToken = start.map { now - $0 }
            return
        }
        pieces += 1
        let seconds = (now - first) / .seconds(1)
        if seconds > 0 { tokensPerSecond = Double(pieces) / seconds }
    }

    mutating func finish(_ metrics: GenerationMetrics) {
        timeToFirstToken = metrics.timeToFirstToken ?? timeToFirstToken
        tokensPerSecond = metrics.tokensPerSecond ?? tokensPerSecond
    }
}
