// Apple's systems have CryptoKit. Swift on Linux comes without SHA-256, and EdgeSWKit is tested there.
#if !canImport(CryptoKit)
/// SHA-256 (FIPS 180-4).
struct PortableSHA256 {
    private var state: [UInt32] = [
        0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19,
    ]
    /// Bytes that do not fill a block yet.
    private var pending: [UInt8] = []
    /// Bytes in the blocks that were compressed.
    private var length: UInt64 = 0

    /// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
    private static let constants: [UInt32] = {
        var primes: [UInt64] = []
        var candidate: UInt64 = 2
        while primes.count < 64 {
            if !primes.contains(where: { candidate % $0 == 0 }) { primes.append(candidate) }
            candidate += 1
        }
        return primes.map { prime in
            // The largest root with root^3 <= prime * 2^96; it is below 2^35, so that its cube fits 105 bits.
            let limit = (high: prime << 32, low: UInt64(0))
            var root: UInt64 = 0
            for bit in (0..<35).reversed() {
                let trial = root | 1 << UInt64(bit)
                let square = trial.multipliedFullWidth(by: trial)
                let low = square.low.multipliedFullWidth(by: trial)
                let high = square.high * trial + low.high
                if (high, low.low) <= (limit.high, limit.low) { root = trial }
            }
            return UInt32(truncatingIfNeeded: root)
        }
    }()

    mutating func update(data: some Sequence<UInt8>) {
        pending += data
        let size = pending.count / 64 * 64
        length += UInt64(size)
        pending.withUnsafeBufferPointer { bytes in
            var schedule = Array(repeating: UInt32(0), count: 64)
            for start in stride(from: 0, to: size, by: 64) { Self.compress(bytes, start, &schedule, &state) }
        }
        pending.removeFirst(size)
    }

    /// The 32 bytes of the digest. Call it once.
    mutating func finalize() -> [UInt8] {
        let bits = (length + UInt64(pending.count)) * 8
        let zeros = (119 - pending.count % 64) % 64
        let tail = (0..<8).map { UInt8(truncatingIfNeeded: bits >> (56 - 8 * $0)) }
        update(data: [0x80] + Array(repeating: 0, count: zeros) + tail)
        return state.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * $0)) } }
    }

    /// Updates the state by the block of 64 bytes at `start`. `schedule` is scratch space of 64 words.
    private static func compress(
        _ bytes: UnsafeBufferPointer<UInt8>, _ start: Int, _ schedule: inout [UInt32], _ state: inout [UInt32]
    ) {
        for index in 0..<16 {
            let offset = start + 4 * index
            schedule[index] =
                UInt32(bytes[offset]) << 24 | UInt32(bytes[offset + 1]) << 16 | UInt32(bytes[offset + 2]) << 8
                | UInt32(bytes[offset + 3])
        }
        for index in 16..<64 {
            let (early, late) = (schedule[index - 15], schedule[index - 2])
            let sigma0 = rotated(early, 7) ^ rotated(early, 18) ^ early >> 3
            let sigma1 = rotated(late, 17) ^ rotated(late, 19) ^ late >> 10
            schedule[index] = schedule[index - 16] &+ sigma0 &+ schedule[index - 7] &+ sigma1
        }
        var (a, b, c, d) = (state[0], state[1], state[2], state[3])
        var (e, f, g, h) = (state[4], state[5], state[6], state[7])
        for index in 0..<64 {
            let choice = e & f ^ ~e & g
            let first = h &+ (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) &+ choice &+ constants[index]
                &+ schedule[index]
            let second = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) &+ (a & b ^ a & c ^ b & c)
            (h, g, f, e, d, c, b, a) = (g, f, e, d &+ first, c, b, a, first &+ second)
        }
        for (index, value) in [a, b, c, d, e, f, g, h].enumerated() { state[index] &+= value }
    }

    @inline(__always)
    private static func rotated(_ word: UInt32, _ count: UInt32) -> UInt32 { word >> count | word << (32 - count) }
}
#endif
