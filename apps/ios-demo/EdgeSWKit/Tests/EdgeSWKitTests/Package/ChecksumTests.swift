import Foundation
import Testing

@testable import EdgeSWKit

/// A wrong sum would refuse every package, or let a damaged one through.
struct ChecksumTests {
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

    @Test("Sums equal hashlib's around the borders of blocks and pieces", .enabled(if: Goldens.isThere, Goldens.hint))
    func sums() throws {
        let content = try Goldens.data("bytes.bin")
        let sums: [String: String] = try Goldens.json("sha256.json")
        #expect(sums.count > 15)
        for (size, sum) in sums {
            let data = content.prefix(Int(size)!)
            var whole = PortableSHA256(), pieces = PortableSHA256()
            whole.update(data: data)
            #expect(Self.hexadecimal(whole.finalize()) == sum, "\(size) bytes")
            var rest = data
            for length in [1, 63, 64, 65, 200, 4_096, 100_000, .max] {
                pieces.update(data: rest.prefix(length))
                rest = rest.dropFirst(length)
            }
            #expect(Self.hexadecimal(pieces.finalize()) == sum, "\(size) bytes in pieces")

            let file = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
            defer { try? FileManager.default.removeItem(at: file) }
            try data.write(to: file)
            var read = 0
            #expect(try FileChecksum.sha256(of: file) { read += $0 } == sum)
            #expect(read == data.count)
        }
    }
}
