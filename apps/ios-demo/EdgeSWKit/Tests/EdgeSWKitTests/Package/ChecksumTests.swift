import Foundation
import Testing

@testable import EdgeSWKit

/// A wrong digest would reject every package, or accept a damaged one.
struct ChecksumTests {
    @Test("Digests of files equal hashlib's around the boundaries of blocks and chunks", .enabled(if: Goldens.areGenerated, Goldens.hint))
    func files() throws {
        let content = try Goldens.data("bytes.bin")
        let digests: [String: String] = try Goldens.json("sha256.json")
        #expect(digests.count > 15)
        for (size, digest) in digests {
            let data = content.prefix(Int(size)!)
            let file = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
            defer { try? FileManager.default.removeItem(at: file) }
            try data.write(to: file)
            var read = 0
            #expect(try FileChecksum.sha256(of: file) { read += $0 } == digest)
            #expect(read == data.count)
        }
    }

    #if !canImport(CryptoKit)
    static func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
    }

    @Test("The examples of FIPS 180-4")
    func examples() {
        var empty = PortableSHA256(), abc = PortableSHA256()
        abc.update(data: Array("abc".utf8))
        #expect(Self.hexadecimal(empty.finalize()) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(Self.hexadecimal(abc.finalize()) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }

    @Test("Digests equal hashlib's, whatever the sizes of the updates", .enabled(if: Goldens.areGenerated, Goldens.hint))
    func updates() throws {
        let content = try Goldens.data("bytes.bin")
        let digests: [String: String] = try Goldens.json("sha256.json")
        for (size, digest) in digests {
            let data = content.prefix(Int(size)!)
            var whole = PortableSHA256(), chunks = PortableSHA256()
            whole.update(data: data)
            #expect(Self.hexadecimal(whole.finalize()) == digest, "\(size) bytes")
            var rest = data
            for length in [1, 63, 64, 65, 200, 4_096, 100_000, .max] {
                chunks.update(data: rest.prefix(length))
                rest = rest.dropFirst(length)
            }
            #expect(Self.hexadecimal(chunks.finalize()) == digest, "\(size) bytes in chunks")
        }
    }
    #endif
}
