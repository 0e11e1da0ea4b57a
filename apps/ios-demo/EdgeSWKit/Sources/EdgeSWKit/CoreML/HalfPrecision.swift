// Swift has no Float16 on Macs with Intel processors; CoreMLEngine does not exist there either.
#if !((os(macOS) || targetEnvironment(macCatalyst)) && arch(x86_64))
/// What the engine reads and writes in float16, apart from it so that it is tested where there is no Core ML.
enum HalfPrecision {
    /// `count` values of a row, `stride` elements apart.
    static func floats(_ row: UnsafePointer<Float16>, count: Int, stride: Int) -> [Float] {
        [Float](unsafeUninitializedCapacity: count) { values, filled in
            for index in 0..<count { values[index] = Float(row[index * stride]) }
            filled = count
        }
    }

    /// The state `tokenCount` for a number of tokens: how many times 1,024, and the remainder. float16 holds every
    /// integer only up to 2,048.
    static func tokenCount(_ count: Int) -> [Float16] { [Float16(count / 1024), Float16(count % 1024)] }
}
#endif
