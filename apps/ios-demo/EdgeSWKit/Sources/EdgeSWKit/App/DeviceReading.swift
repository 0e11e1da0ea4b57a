/// The device's memory, in bytes, and thermal state at one moment.
public struct DeviceReading: Sendable, Equatable {
    public enum ThermalState: Int, Sendable, Comparable {
        case nominal, fair, serious, critical

        public static func < (one: ThermalState, other: ThermalState) -> Bool { one.rawValue < other.rawValue }
    }

    /// The memory that this app uses; nil if the system does not report it.
    public let used: Int?
    /// The memory that it can still use before the system ends it; nil if there is no such limit.
    public let available: Int?
    public let thermalState: ThermalState

    public init(used: Int?, available: Int?, thermalState: ThermalState) {
        (self.used, self.available, self.thermalState) = (used, available, thermalState)
    }

    /// Whether less than 150 MB, or less than a twentieth of the app's limit, is left.
    public var isLowOnMemory: Bool {
        guard let available else { return false }
        return available < max(150_000_000, (available + (used ?? 0)) / 20)
    }

    /// Whether the system slows the processors down, which it does from `serious` on: speeds are then below the device's
    /// best.
    public var isThrottled: Bool { thermalState >= .serious }

    /// Whether weights of this size probably exceed the memory that is left; false if that is unknown.
    public func isTight(forWeights bytes: Int) -> Bool {
        guard let available else { return false }
        return bytes > available / 10 * 9
    }
}
