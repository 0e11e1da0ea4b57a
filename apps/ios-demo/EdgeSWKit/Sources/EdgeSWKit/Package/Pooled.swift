import Foundation

/// Gives back at once what Objective-C would keep until the end of the run loop: gigabytes, where a file is read or copied
/// piece by piece.
func pooled<Value>(_ work: () throws -> Value) rethrows -> Value {
    #if canImport(ObjectiveC)
    try autoreleasepool(invoking: work)
    #else
    try work()
    #endif
}
