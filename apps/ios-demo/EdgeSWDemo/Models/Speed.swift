import EdgeSWKit

/// The speed of an answer, measured here while it is generated and by the generator once it is complete.
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

    /// Records a piece of text: usually one token, sometimes several that form one character.
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
