/// Runs `work` off the main actor and shows its progress, fractions from 0 to 1, on the main actor. Fractions that arrive
/// faster than they can be shown are skipped, and none is shown after the work has ended.
@MainActor
func withProgress<Result: Sendable>(
    _ show: @escaping @MainActor (Double) -> Void,
    _ work: @escaping @Sendable (_ onProgress: @escaping @Sendable (Double) -> Void) async throws -> Result
) async throws -> Result {
    let (fractions, continuation) = AsyncStream.makeStream(of: Double.self, bufferingPolicy: .bufferingNewest(1))
    let display = Task { @MainActor in
        for await fraction in fractions where !Task.isCancelled { show(fraction) }
    }
    defer {
        display.cancel()
        continuation.finish()
    }
    return try await work { continuation.yield($0) }
}
