import Foundation
import Testing

@testable import EdgeSWKit

private let commit = String(repeating: "0123456789abcdef", count: 3).prefix(40)

private func entry(repository: String = "somebody/tiny-4bit", revision: String = String(commit), bytes: Int = 5) -> Data {
    Data(#"[{"name": "Tiny", "repository": "\#(repository)", "revision": "\#(revision)", "bytes": \#(bytes), "summary": ""}]"#.utf8)
}

@Suite("The built-in list of packages on the Hub")
struct HubPackageTests {
    @Test("A file's URL is the Hub's, at the pinned commit, whatever characters its name contains")
    func urls() throws {
        let package = try #require(try HubPackage.list(entry()).first)
        let base = "https://huggingface.co/somebody/tiny-4bit/resolve/\(commit)"
        #expect(package.url(of: "manifest.json")?.absoluteString == "\(base)/manifest.json")
        #expect(package.url(of: "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin")?.absoluteString
            == "\(base)/model.mlpackage/Data/com.apple.CoreML/weights/weight.bin")
        #expect(package.url(of: "a b/ü?#%.json")?.absoluteString == "\(base)/a%20b/%C3%BC%3F%23%25.json")
        for path in ["", "/x", "../x", "a/../x", "a//b", "."] { #expect(package.url(of: path) == nil) }
    }

    @Test("An entry that does not pin its package is refused: a branch may change")
    func wrongEntries() {
        for wrong in [
            entry(revision: "main"), entry(revision: String(commit).uppercased()), entry(repository: "tiny"),
            entry(repository: "a/b/c"), entry(repository: "a/.."), entry(repository: "a/b c"), entry(bytes: 0),
        ] { #expect(throws: HubListError(entry: "Tiny")) { try HubPackage.list(wrong) } }
        #expect(throws: DecodingError.self) { try HubPackage.list(Data(#"[{"name": "Tiny"}]"#.utf8)) }
    }

    @Test("An empty list is valid: the screen then says how to make a package")
    func empty() throws {
        #expect(try HubPackage.list(Data("[]".utf8)).isEmpty)
    }
}
