import Foundation

#if canImport(CryptoKit)
import CryptoKit
#endif

/// SHA-256 of a file, read in chunks.
enum FileChecksum {
    private static let chunk = 1 << 20

    /// The digest in hexadecimal. `onChunk` receives the number of bytes of each chunk. Throws what reading throws, and
    /// CancellationError in a task that was cancelled.
    static func sha256(of file: URL, onChunk: (Int) -> Void) throws -> String {
        let handle = try FileHandle(forReadingFrom: file)
        defer { try? handle.close() }
        #if canImport(CryptoKit)
        var hash = CryptoKit.SHA256()
        #else
        var hash = PortableSHA256()
        #endif
        var isAtEnd = false
        while !isAtEnd {
            try Task.checkCancellation()
            isAtEnd = try withAutoreleasePool {
                guard let data = try handle.read(upToCount: chunk), !data.isEmpty else { return true }
                hash.update(data: data)
                onChunk(data.count)
                return false
            }
        }
        return hash.finalize().map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
    }
}
