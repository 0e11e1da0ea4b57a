/// What the device says about itself at one moment, and what follows from it. Bytes.
public struct DeviceReading: Sendable, Equatable {
    public enum Heat: Int, Sendable, Comparable {
        case nominal, fair, serious, critical

        public static func < (one: Heat, other: Heat) -> Bool { one.rawValue < other.rawValue }
    }

    /// What this app takes; nil where the system does not say.
    public let used: Int?
    /// What it may still take before the system ends it; nil where there is no such limit.
    public let available: Int?
    public let heat: Heat

    public init(used: Int?, available: Int?, heat: Heat) {
        (self.used, self.available, self.heat) = (used, available, heat)
    }

    /// Less than 150 MB, or a twentieth of all that the app may have, is left.
    public var isShort: Bool {
        guard let available else { return false }
        return available < max(150_000_000, (available + (used ?? 0)) / 20)
    }

    /// From `serious` on the system slows the processors down: figures are then not the device's best.
    public var isThrottled: Bool { heat >= .serious }

    /// Whether weights of so many bytes are likely to be too many for what is left; false where nobody knows.
    public func isTight(forWeights bytes: Int) -> Bool {
        guard let available else { return false }
        return bytes > available / 10 * 9
    }
}
