/// Runs `work` off the main actor and shows its progress, shares from 0 to 1, on it. Of shares that come faster than they
/// can be shown only the newest is, and none after the work has ended.
@MainActor
func following<Result: Sendable>(
    _ show: @escaping @MainActor (Double) -> Void,
    _ work: @escaping @Sendable (_ tell: @escaping @Sendable (Double) -> Void) async throws -> Result
) async throws -> Result {
    let (shares, told) = AsyncStream.makeStream(of: Double.self, bufferingPolicy: .bufferingNewest(1))
    let watching = Task { @MainActor in
        for await share in shares where !Task.isCancelled { show(share) }
    }
    defer {
        watching.cancel()
        told.finish()
    }
    return try await work { told.yield($0) }
}
