/// A hash table from 64-bit keys to numbers. A Dictionary's hashing, which resists attacks, would take most of the time of
/// merging tokens.
struct NumberTable: Sendable {
    private var keys: [UInt64]
    private var values: [Int32]
    private var mask: Int
    private(set) var count = 0
    // No key has all bits set: tokens, scalars and trie nodes are below 2^31.
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
        var index = Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) >> 20) & mask
        while keys[index] != key, keys[index] != Self.empty { index = (index + 1) & mask }
        return index
    }

    subscript(key: UInt64) -> Int32? {
        let index = slot(key)
        return keys[index] == key ? values[index] : nil
    }

    mutating func set(_ key: UInt64, _ value: Int32) {
        if (count + 1) * 2 > keys.count { grow() }
        let index = slot(key)
        if keys[index] == Self.empty { count += 1 }
        (keys[index], values[index]) = (key, value)
    }

    private mutating func grow() {
        var larger = NumberTable(capacity: keys.count)
        for (key, value) in zip(keys, values) where key != Self.empty { larger.set(key, value) }
        self = larger
    }
}

/// A vocabulary: texts and their ids. Texts are compared by their bytes, since Swift's String treats canonically equivalent
/// spellings as equal.
struct TokenTable: Sendable {
    private var pool: [UInt8] = []
    private var starts: [Int] = []
    private var lengths: [Int32] = []
    private var ids: [Int32] = []
    private var entryOfID: [Int32]
    private var slots: [Int32] = []
    /// The number of distinct texts.
    var count: Int { starts.count }

    // More than any vocabulary has. A larger id would only take memory.
    static let maximumID = 1 << 24

    /// A text that occurs twice has its last id. Throws TokenizerError for ids that are out of range.
    init(_ entries: [(text: String, id: Int)]) throws {
        guard let largest = entries.map(\.id).max() else { throw TokenizerError.damaged("the vocabulary is empty") }
        guard entries.allSatisfy({ $0.id >= 0 }), largest < Self.maximumID else {
            throw TokenizerError.damaged("a token's id is out of range")
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
        let index = slot(bytes)
        if slots[index] < 0 {
            slots[index] = Int32(starts.count)
            starts.append(pool.count)
            lengths.append(Int32(bytes.count))
            ids.append(Int32(id))
            pool.append(contentsOf: bytes)
        } else {
            ids[Int(slots[index])] = Int32(id)
        }
        entryOfID[id] = slots[index]
    }

    private func slot(_ bytes: UnsafeBufferPointer<UInt8>) -> Int {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325  // FNV-1a
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        var index = Int(truncatingIfNeeded: hash ^ hash >> 29) & (slots.count - 1)
        while slots[index] >= 0, !isEntry(Int(slots[index]), bytes) { index = (index + 1) & (slots.count - 1) }
        return index
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

    /// All ids of these texts, since a text may have several.
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
