import Foundation

#if canImport(CryptoKit)
import CryptoKit
#endif

/// SHA-256 of a file, read piece by piece.
enum FileChecksum {
    private static let piece = 1 << 20

    /// In hexadecimal. `tell` hears after each piece how many bytes it had. Throws what reading throws, and
    /// CancellationError in a task that was cancelled.
    static func sha256(of file: URL, tell: (Int) -> Void) throws -> String {
        let handle = try FileHandle(forReadingFrom: file)
        defer { try? handle.close() }
        #if canImport(CryptoKit)
        var hash = CryptoKit.SHA256()
        #else
        var hash = PortableSHA256()
        #endif
        var isMore = true
        while isMore {
            try Task.checkCancellation()
            isMore = try pooled {
                guard let data = try handle.read(upToCount: piece), !data.isEmpty else { return false }
                hash.update(data: data)
                tell(data.count)
                return true
            }
        }
        return hash.finalize().map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
    }
}

/// SHA-256 (FIPS 180-4) where there is no CryptoKit.
struct PortableSHA256 {
    private var state: [UInt32] = [
        0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19,
    ]
    private var rest: [UInt8] = []
    private var length: UInt64 = 0

    /// The first 32 bits of the fractions of the cube roots of the first 64 primes.
    private static let constants: [UInt32] = {
        var primes: [UInt64] = []
        var next: UInt64 = 2
        while primes.count < 64 {
            if !primes.contains(where: { next % $0 == 0 }) { primes.append(next) }
            next += 1
        }
        return primes.map { prime in
            // The largest r with r^3 <= prime * 2^96; below 2^35, so that r^3 fits 105 bits.
            let wanted = (high: prime << 32, low: UInt64(0))
            var root: UInt64 = 0
            for bit in (0..<35).reversed() {
                let tried = root | 1 << UInt64(bit)
                let square = tried.multipliedFullWidth(by: tried)
                let low = square.low.multipliedFullWidth(by: tried)
                let high = square.high * tried + low.high
                if (high, low.low) <= (wanted.high, wanted.low) { root = tried }
            }
            return UInt32(truncatingIfNeeded: root)
        }
    }()

    mutating func update(data: some Sequence<UInt8>) {
        rest += data
        let whole = rest.count / 64 * 64
        length += UInt64(whole)
        rest.withUnsafeBufferPointer { bytes in
            var words = Array(repeating: UInt32(0), count: 64)
            for start in stride(from: 0, to: whole, by: 64) { Self.mix(bytes, start, &words, &state) }
        }
        rest.removeFirst(whole)
    }

    /// The 32 bytes of the sum. Call it once.
    mutating func finalize() -> [UInt8] {
        let bits = (length + UInt64(rest.count)) * 8
        let zeros = (119 - rest.count % 64) % 64
        let tail = (0..<8).map { UInt8(truncatingIfNeeded: bits >> (56 - 8 * $0)) }
        update(data: [0x80] + Array(repeating: 0, count: zeros) + tail)
        return state.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * $0)) } }
    }

    private static func mix(
        _ bytes: UnsafeBufferPointer<UInt8>, _ start: Int, _ words: inout [UInt32], _ state: inout [UInt32]
    ) {
        for at in 0..<16 {
            let place = start + 4 * at
            words[at] =
                UInt32(bytes[place]) << 24 | UInt32(bytes[place + 1]) << 16 | UInt32(bytes[place + 2]) << 8
                | UInt32(bytes[place + 3])
        }
        for at in 16..<64 {
            let (early, late) = (words[at - 15], words[at - 2])
            let first = turned(early, 7) ^ turned(early, 18) ^ early >> 3
            let second = turned(late, 17) ^ turned(late, 19) ^ late >> 10
            words[at] = words[at - 16] &+ first &+ words[at - 7] &+ second
        }
        var (a, b, c, d) = (state[0], state[1], state[2], state[3])
        var (e, f, g, h) = (state[4], state[5], state[6], state[7])
        for at in 0..<64 {
            let choice = e & f ^ ~e & g
            let first = h &+ (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) &+ choice &+ constants[at] &+ words[at]
            let second = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) &+ (a & b ^ a & c ^ b & c)
            (h, g, f, e, d, c, b, a) = (g, f, e, d &+ first, c, b, a, first &+ second)
        }
        for (at, value) in [a, b, c, d, e, f, g, h].enumerated() { state[at] &+= value }
    }

    @inline(__always)
    private static func turned(_ word: UInt32, _ by: UInt32) -> UInt32 { word >> by | word << (32 - by) }
}
