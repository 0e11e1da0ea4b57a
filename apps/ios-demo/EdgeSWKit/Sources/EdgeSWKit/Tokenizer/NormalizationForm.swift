import Foundation

/// Unicode's normalization forms, in the version of Hugging Face's tokenizers (Unicode 11).
///
/// Only the decompositions of single characters are Foundation's. Its forms of whole texts are not used: on Linux, NFC
/// turns the tag character U+E0041 into an A, and NFKC leaves some sequences uncomposed; on Apple's systems they compose by
/// the system's version of Unicode, not by version 11. Composing here on every system also means that the tests, which run
/// on Linux, cover the code that runs on phones.
struct NormalizationForm: Sendable {
    let isCompatible: Bool
    let composes: Bool

    func apply(_ text: ArraySlice<Unicode.Scalar>) -> [Unicode.Scalar] {
        var result: [Unicode.Scalar] = []
        result.reserveCapacity(text.count)
        var index = text.startIndex
        while index < text.endIndex {
            guard mayChange(text[index]) else {
                result.append(text[index])
                index += 1
                continue
            }
            // A run of characters that may change, and the character before it, with which they may compose.
            var run = result.popLast().map(decomposed) ?? []
            while index < text.endIndex, mayChange(text[index]) {
                run += decomposed(text[index])
                index += 1
            }
            sortMarks(&run)
            result += composes ? composed(run) : run
        }
        return result
    }

    /// Whether a character may decompose in this form, or compose with the one before it.
    private func mayChange(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.isASCII { return false }
        if !composes || scalar.properties.isFullCompositionExclusion || 0x1160...0x11FF ~= scalar.value { return true }
        if isCompatible, scalar.properties.changesWhenNFKCCaseFolded { return true }
        return Categories.marks.contains(Categories(scalar.properties.generalCategory))
    }

    private func decomposed(_ scalar: Unicode.Scalar) -> [Unicode.Scalar] {
        if scalar.isASCII || !isKnown(scalar) { return [scalar] }
        let text = String(Character(scalar))
        let parts = isCompatible ? text.decomposedStringWithCompatibilityMapping : text.decomposedStringWithCanonicalMapping
        return Array(parts.unicodeScalars)
    }

    private func isKnown(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.age.map { ($0.major, $0.minor) <= (11, 0) } ?? false
    }

    private func combiningClass(_ scalar: Unicode.Scalar) -> UInt8 {
        scalar.isASCII || !isKnown(scalar) ? 0 : scalar.properties.canonicalCombiningClass.rawValue
    }

    /// Sorts the marks of each character by combining class. Marks of the same class keep their order.
    private func sortMarks(_ run: inout [Unicode.Scalar]) {
        var classes = run.map(combiningClass)
        var start = 0
        while start < run.count {
            var end = start + 1
            if classes[start] != 0 {
                while end < run.count, classes[end] != 0 { end += 1 }
                let order = (start..<end).sorted { (classes[$0], $0) < (classes[$1], $1) }
                let (scalars, sorted) = (order.map { run[$0] }, order.map { classes[$0] })
                run.replaceSubrange(start..<end, with: scalars)
                classes.replaceSubrange(start..<end, with: sorted)
            }
            start = end
        }
    }

    private func composed(_ run: [Unicode.Scalar]) -> [Unicode.Scalar] {
        var result: [Unicode.Scalar] = []
        var (starter, last) = (-1, UInt8(0))
        for scalar in run {
            let combiningClass = combiningClass(scalar)
            if starter >= 0, result.count - 1 == starter || last < combiningClass,
                let composite = pair(result[starter], scalar)
            {
                result[starter] = composite
                continue
            }
            if combiningClass == 0 { starter = result.count }
            last = combiningClass
            result.append(scalar)
        }
        return result
    }

    /// The character that two characters compose to; nil if there is none.
    private func pair(_ first: Unicode.Scalar, _ second: Unicode.Scalar) -> Unicode.Scalar? {
        syllable(first.value, second.value) ?? Self.pairs[NumberTable.key(Int32(first.value), Int32(second.value))]
            .flatMap { Unicode.Scalar(UInt32($0)) }
    }

    /// The compositions of two characters, made by inverting the decompositions: all composable characters are below U+3100
    /// or in the blocks of the Brahmic scripts. Takes about ten milliseconds, once.
    private static let pairs: NumberTable = {
        var pairs = NumberTable(capacity: 2_048)
        var composites: [[Unicode.Scalar]: Unicode.Scalar] = [:]
        let form = NormalizationForm(isCompatible: false, composes: true)
        let scalars = [0xC0...0x30FF, 0x11000...0x11FFF].joined().compactMap { Unicode.Scalar($0) }
        let known = scalars.filter { form.isKnown($0) && !$0.properties.isFullCompositionExclusion }
        for (scalar, parts) in known.map({ ($0, form.decomposed($0)) }).sorted(by: { $0.1.count < $1.1.count }) {
            composites[parts] = scalar
            guard parts.count > 1, let first = parts.count == 2 ? parts[0] : composites[Array(parts.dropLast())]
            else { continue }
            pairs.set(NumberTable.key(Int32(first.value), Int32(parts[parts.count - 1].value)), Int32(scalar.value))
        }
        return pairs
    }()

    /// Hangul syllables, whose code points are computed from their letters (The Unicode Standard, 3.12).
    private func syllable(_ first: UInt32, _ second: UInt32) -> Unicode.Scalar? {
        if 0x1100..<0x1113 ~= first, 0x1161..<0x1176 ~= second {
            return Unicode.Scalar(0xAC00 + ((first - 0x1100) * 21 + second - 0x1161) * 28)
        }
        guard 0xAC00..<0xD7A4 ~= first, (first - 0xAC00) % 28 == 0, 0x11A8..<0x11C3 ~= second else { return nil }
        return Unicode.Scalar(first + second - 0x11A7)
    }
}
