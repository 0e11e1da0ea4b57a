import Foundation

/// Runs `work` and frees its autoreleased objects at once. Without it, what Objective-C allocates while a file is read or
/// copied in chunks would stay until the run loop's next turn: gigabytes.
func withAutoreleasePool<Value>(_ work: () throws -> Value) rethrows -> Value {
    #if canImport(ObjectiveC)
    try autoreleasepool(invoking: work)
    #else
    try work()
    #endif
}
