/// A set of characters as patterns name them: ranges and Unicode's classes, or all but these.
struct ScalarSet: Sendable {
    /// White space and the characters of words, which are no general categories.
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
    private var isFolded = false
    // Which of the first 128 characters are in: most texts ask for little else.
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

    /// The one character that this is; nil for any other set.
    var only: Unicode.Scalar? {
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

    /// Capital and small letters are the same, where `yes`; also the long s and the Kelvin sign, as in Oniguruma.
    func folded(_ yes: Bool) -> ScalarSet {
        var other = self
        other.isFolded = yes || isFolded
        other.tabulate()
        return other
    }

    /// All that is in either; neither is inverted.
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
        return holds(scalar)
    }

    private mutating func tabulate() {
        ascii = (0, 0)
        for value in UInt8(0)..<64 {
            if holds(Unicode.Scalar(value)) { ascii.0 |= 1 << UInt64(value) }
            if holds(Unicode.Scalar(value + 64)) { ascii.1 |= 1 << UInt64(value) }
        }
    }

    private func holds(_ scalar: Unicode.Scalar) -> Bool {
        (isListed(scalar) || (isFolded && variants(scalar).contains(where: isListed))) != isInverted
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

    /// To Oniguruma the superscript digits and fractions of Latin-1 are characters of words.
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
