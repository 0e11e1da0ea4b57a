/// A set of characters in a pattern: ranges and Unicode's classes, or their complement.
struct ScalarSet: Sendable {
    /// White space and word characters, which are not general categories.
    struct Classes: OptionSet, Sendable {
        let rawValue: UInt8
        static let space = Classes(rawValue: 1)
        static let noSpace = Classes(rawValue: 2)
        static let word = Classes(rawValue: 4)
        static let noWord = Classes(rawValue: 8)
    }

    private var ranges: [ClosedRange<Unicode.Scalar>] = []
    private var categories = Categories()
    private var classes: Classes = []
    private var isInverted = false
    private var ignoresCase = false
    // Membership of the first 128 characters, which are most of most texts.
    private var ascii: (UInt64, UInt64) = (0, 0)

    init(_ ranges: [ClosedRange<Unicode.Scalar>]) {
        self.ranges = ranges
        tabulate()
    }

    init(_ classes: Classes) {
        self.classes = classes
        tabulate()
    }

    init(_ categories: Categories) {
        self.categories = categories
        tabulate()
    }

    /// The only character of the set; nil if there are more, or none.
    var singleScalar: Unicode.Scalar? {
        guard !isInverted, classes.isEmpty, categories.isEmpty, ranges.count == 1,
            ranges[0].lowerBound == ranges[0].upperBound
        else { return nil }
        return ranges[0].lowerBound
    }

    var inverted: ScalarSet {
        var other = self
        other.isInverted.toggle()
        other.tabulate()
        return other
    }

    /// Ignores case if `isOn`. The long s and the Kelvin sign then match as in Oniguruma.
    func ignoringCase(_ isOn: Bool) -> ScalarSet {
        var other = self
        other.ignoresCase = isOn || ignoresCase
        other.tabulate()
        return other
    }

    /// Adds the members of another set. Neither set may be inverted.
    mutating func add(_ other: ScalarSet) {
        ranges += other.ranges
        categories.formUnion(other.categories)
        classes.formUnion(other.classes)
        tabulate()
    }

    @inline(__always)
    func contains(_ scalar: Unicode.Scalar) -> Bool {
        let value = scalar.value
        if value < 64 { return ascii.0 >> UInt64(value) & 1 == 1 }
        if value < 128 { return ascii.1 >> UInt64(value - 64) & 1 == 1 }
        return isMember(scalar)
    }

    private mutating func tabulate() {
        ascii = (0, 0)
        for value in UInt8(0)..<64 {
            if isMember(Unicode.Scalar(value)) { ascii.0 |= 1 << UInt64(value) }
            if isMember(Unicode.Scalar(value + 64)) { ascii.1 |= 1 << UInt64(value) }
        }
    }

    private func isMember(_ scalar: Unicode.Scalar) -> Bool {
        (isListed(scalar) || (ignoresCase && variants(scalar).contains(where: isListed))) != isInverted
    }

    private func isListed(_ scalar: Unicode.Scalar) -> Bool {
        if !categories.isEmpty, categories.contains(Categories(scalar.category)) { return true }
        if !classes.isEmpty {
            let spaces = !classes.isDisjoint(with: [.space, .noSpace]), words = !classes.isDisjoint(with: [.word, .noWord])
            if spaces, classes.contains(scalar.isSpace ? .space : .noSpace) { return true }
            if words, classes.contains(isWord(scalar) ? .word : .noWord) { return true }
        }
        for range in ranges where range.contains(scalar) { return true }
        return false
    }

    /// Oniguruma counts the superscript digits and fractions of Latin-1 as word characters.
    private func isWord(_ scalar: Unicode.Scalar) -> Bool {
        scalar.isWord || [0xB2, 0xB3, 0xB9, 0xBC, 0xBD, 0xBE].contains(scalar.value)
    }

    private func variants(_ scalar: Unicode.Scalar) -> [Unicode.Scalar] {
        let upper = Array(scalar.properties.uppercaseMapping.unicodeScalars)
        let lower = Array(scalar.properties.lowercaseMapping.unicodeScalars)
        guard upper.count == 1, lower.count == 1 else { return [] }
        return upper + lower + Array(upper[0].properties.lowercaseMapping.unicodeScalars)
    }
}
