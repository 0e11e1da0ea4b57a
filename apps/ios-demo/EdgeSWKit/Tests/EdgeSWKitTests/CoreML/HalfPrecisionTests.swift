import Foundation
import Testing

@testable import EdgeSWKit

@Suite("Half precision")
struct HalfPrecisionTests {
    /// The value of IEEE 754's binary16.
    private static func value(_ bits: UInt16) -> Float {
        let (sign, exponent, fraction): (Float, Int, Float) = (bits >> 15 == 1 ? -1 : 1, Int(bits >> 10 & 31), Float(bits & 0x3FF))
        return switch exponent {
        case 0: sign * fraction * 0x1p-24
        case 31: fraction == 0 ? sign * .infinity : .nan
        default: sign * (1024 + fraction) * Float(sign: .plus, exponent: exponent - 25, significand: 1)
        }
    }

    @Test("is read exactly, all 65,536 values: otherwise another token may be the most likely one")
    func all() {
        let values = (UInt16.min...UInt16.max).map { Float16(bitPattern: $0) }
        let floats = values.withUnsafeBufferPointer { HalfPrecision.floats($0.baseAddress!, count: 65_536, stride: 1) }
        for bits in UInt16.min...UInt16.max {
            let (found, expected) = (floats[Int(bits)], Self.value(bits))
            #expect(found == expected && found.sign == expected.sign || found.isNaN && expected.isNaN)
        }
    }

    @Test("is read with the row's stride")
    func rows() {
        let values: [Float16] = [1, -2, 3, 0.5, 65_504, -0.1]
        let row = values.withUnsafeBufferPointer { HalfPrecision.floats($0.baseAddress! + 1, count: 3, stride: 2) }
        #expect(row == [-2, 0.5, Float(Float16(-0.1))])
    }

    @Test("counts tokens exactly, as the programs do: otherwise a rewound chat would read wrong slots of its caches")
    func counts() {
        for count in Array(0...4096) + [5000, 131_072] {
            let parts = HalfPrecision.tokenCount(count).map { Int($0) }
            #expect(parts[0] * 1024 + parts[1] == count && parts[1] < 1024)
        }
    }
}
