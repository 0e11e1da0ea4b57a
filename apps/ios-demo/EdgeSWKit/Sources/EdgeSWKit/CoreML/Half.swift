/// Float16 as its bits, since Swift has no such type on Macs with Intel processors.
enum Half {
    /// The value of a half-precision number.
    @inline(__always)
    static func float(_ bits: UInt16) -> Float {
        let sign = UInt32(bits & 0x8000) << 16
        let rest = UInt32(bits & 0x7FFF) << 13
        // With the exponent's bias still that of a half: times 2^112, which also makes subnormal numbers right.
        if rest < 0x0F80_0000 {
            return Float(bitPattern: sign | (Float(bitPattern: rest) * 0x1p112).bitPattern)
        }
        return Float(bitPattern: sign | rest | 0x7F80_0000)
    }

    /// `count` values of a row, `stride` elements apart.
    static func floats(_ row: UnsafePointer<UInt16>, count: Int, stride: Int) -> [Float] {
        [Float](unsafeUninitializedCapacity: count) { values, filled in
            for at in 0..<count { values[at] = float(row[at * stride]) }
            filled = count
        }
    }

    /// The bits of a whole number from 0 to 2,048, the last to which halves count.
    static func bits(_ whole: Int) -> UInt16 {
        guard whole > 0 else { return 0 }
        let exponent = Int.bitWidth - 1 - whole.leadingZeroBitCount
        let fraction = exponent <= 10 ? whole << (10 - exponent) : whole >> (exponent - 10)
        return UInt16((exponent + 15) << 10 | fraction & 0x3FF)
    }

    /// The state `tokenCount` for a number of tokens: so many times 1,024, and the rest.
    static func tokenCount(_ count: Int) -> [UInt16] { [bits(count / 1024), bits(count % 1024)] }
}
