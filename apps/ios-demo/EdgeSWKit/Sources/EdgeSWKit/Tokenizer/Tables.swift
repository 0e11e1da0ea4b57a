/// A map of 64-bit keys to numbers, made once and then only read: a Dictionary's safe hashing takes most of the time
/// that merging tokens would need.
struct NumberTable: Sendable {
    private var keys: [UInt64]
    private var values: [Int32]
    private var mask: Int
    private(set) var count = 0
    // No key has all bits set: tokens, scalars and trie nodes are numbers below 2^31.
    private static let empty = UInt64.max

    init(capacity: Int) {
        var size = 16
        while size < capacity * 2 { size *= 2 }
        (keys, values, mask) = (Array(repeating: Self.empty, count: size), Array(repeating: 0, count: size), size - 1)
    }

    static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    private func slot(_ key: UInt64) -> Int {
        var at = Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) >> 20) & mask
        while keys[at] != key, keys[at] != Self.empty { at = (at + 1) & mask }
        return at
    }

    subscript(key: UInt64) -> Int32? {
        let at = slot(key)
        return keys[at] == key ? values[at] : nil
    }

    mutating func set(_ key: UInt64, _ value: Int32) {
        if (count + 1) * 2 > keys.count { grow() }
        let at = slot(key)
        if keys[at] == Self.empty { count += 1 }
        (keys[at], values[at]) = (key, value)
    }

    private mutating func grow() {
        var larger = NumberTable(capacity: keys.count)
        for (key, value) in zip(keys, values) where key != Self.empty { larger.set(key, value) }
        self = larger
    }
}

/// Texts with numbers, found by their bytes: Swift's String takes two spellings of a character for the same text.
struct TokenTable: Sendable {
    private var pool: [UInt8] = []
    private var starts: [Int] = []
    private var lengths: [Int32] = []
    private var ids: [Int32] = []
    private var entryOfID: [Int32]
    private var slots: [Int32] = []
    /// How many different texts there are.
    var count: Int { starts.count }

    // More than any vocabulary has; a number beyond it would only take memory.
    static let most = 1 << 24

    /// Of a text that comes twice the last number counts. Throws TokenizerError for numbers that no token has.
    init(_ entries: [(text: String, id: Int)]) throws {
        guard let largest = entries.map(\.id).max() else { throw TokenizerError.damaged("the vocabulary is empty") }
        guard entries.allSatisfy({ $0.id >= 0 }), largest < Self.most else {
            throw TokenizerError.damaged("a token's number is out of range")
        }
        var size = 16
        while size < entries.count * 2 { size *= 2 }
        slots = Array(repeating: -1, count: size)
        entryOfID = Array(repeating: -1, count: largest + 1)
        pool.reserveCapacity(entries.count * 8)
        for (text, id) in entries {
            var text = text
            text.withUTF8 { add($0, id) }
        }
    }

    private mutating func add(_ bytes: UnsafeBufferPointer<UInt8>, _ id: Int) {
        let at = slot(bytes)
        if slots[at] < 0 {
            slots[at] = Int32(starts.count)
            starts.append(pool.count)
            lengths.append(Int32(bytes.count))
            ids.append(Int32(id))
            pool.append(contentsOf: bytes)
        } else {
            ids[Int(slots[at])] = Int32(id)
        }
        entryOfID[id] = slots[at]
    }

    private func slot(_ bytes: UnsafeBufferPointer<UInt8>) -> Int {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325  // FNV-1a
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        var at = Int(truncatingIfNeeded: hash ^ hash >> 29) & (slots.count - 1)
        while slots[at] >= 0, !isEntry(Int(slots[at]), bytes) { at = (at + 1) & (slots.count - 1) }
        return at
    }

    private func isEntry(_ entry: Int, _ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        guard Int(lengths[entry]) == bytes.count else { return false }
        let start = starts[entry]
        for (offset, byte) in bytes.enumerated() where pool[start + offset] != byte { return false }
        return true
    }

    func id(of text: String) -> Int? {
        var text = text
        return text.withUTF8 { id(of: $0) }
    }

    func id(of scalars: ArraySlice<Unicode.Scalar>) -> Int? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(scalars.count * 3)
        for scalar in scalars { bytes.append(contentsOf: UTF8.encode(scalar)!) }
        return bytes.withUnsafeBufferPointer { id(of: $0) }
    }

    private func id(of bytes: UnsafeBufferPointer<UInt8>) -> Int? {
        let entry = slots[slot(bytes)]
        return entry < 0 ? nil : Int(ids[Int(entry)])
    }

    /// All numbers of these texts: the same text may be there twice.
    func allIDs(of texts: [String]) -> [Int] {
        let entries = Set(
            texts.map { text in
                var text = text
                return text.withUTF8 { slots[slot($0)] }
            }.filter { $0 >= 0 })
        return entryOfID.indices.filter { entries.contains(entryOfID[$0]) }
    }

    func text(of id: Int) -> String? {
        guard entryOfID.indices.contains(id), entryOfID[id] >= 0 else { return nil }
        let entry = Int(entryOfID[id])
        return String(decoding: pool[starts[entry]..<starts[entry] + Int(lengths[entry])], as: UTF8.self)
    }
}
