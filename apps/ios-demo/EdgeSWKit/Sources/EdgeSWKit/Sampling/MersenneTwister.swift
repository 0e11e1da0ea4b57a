/// MT19937 (Matsumoto and Nishimura 1998), seeded and read as `random.Random(seed).random()` in Python is: the same seed
/// gives the same numbers there and here.
public struct MersenneTwister: Sendable {
    private static let count = 624, middle = 397

    private var state: [UInt32]
    private var index = MersenneTwister.count

    public init(seed: UInt64) {
        let words = seed >> 32 == 0 ? [UInt32(seed)] : [UInt32(truncatingIfNeeded: seed), UInt32(seed >> 32)]
        state = [19_650_218]
        for number in 1..<Self.count {
            state.append(1_812_433_253 &* (state[number - 1] ^ (state[number - 1] >> 30)) &+ UInt32(number))
        }
        var (at, word) = (1, 0)
        for _ in 0..<Self.count {
            mix(at, 1_664_525, plus: words[word] &+ UInt32(word))
            (at, word) = (next(at), (word + 1) % words.count)
        }
        for _ in 1..<Self.count {
            mix(at, 1_566_083_941, plus: 0 &- UInt32(at))
            at = next(at)
        }
        state[0] = 0x8000_0000
    }

    /// A number from 0 up to 1, of 53 bits.
    public mutating func random() -> Double {
        let (high, low) = (word() >> 5, word() >> 6)
        return (Double(high) * 67_108_864 + Double(low)) / 9_007_199_254_740_992
    }

    private mutating func mix(_ at: Int, _ factor: UInt32, plus: UInt32) {
        let before = state[at - 1]
        state[at] = (state[at] ^ ((before ^ (before >> 30)) &* factor)) &+ plus
    }

    /// The place after `at`, of 1 to 623; where it begins anew, the last word is what stands before the first.
    private mutating func next(_ at: Int) -> Int {
        guard at + 1 == Self.count else { return at + 1 }
        state[0] = state[Self.count - 1]
        return 1
    }

    private mutating func word() -> UInt32 {
        if index == Self.count { twist() }
        var word = state[index]
        index += 1
        word ^= word >> 11
        word ^= (word << 7) & 0x9D2C_5680
        word ^= (word << 15) & 0xEFC6_0000
        return word ^ (word >> 18)
    }

    private mutating func twist() {
        for at in 0..<Self.count {
            let joined = (state[at] & 0x8000_0000) | (state[(at + 1) % Self.count] & 0x7FFF_FFFF)
            state[at] = state[(at + Self.middle) % Self.count] ^ (joined >> 1) ^ (joined & 1 == 0 ? 0 : 0x9908_B0DF)
        }
        index = 0
    }
}
