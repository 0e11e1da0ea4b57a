import Foundation

/// A package on the Hugging Face hub that the app offers to fetch. The list is a JSON file in the app.
public struct HubPackage: Codable, Sendable, Equatable, Identifiable {
    public let name: String
    /// `owner/name`
    public let repository: String
    /// A commit, in full: a branch could become another package under the same entry.
    public let revision: String
    /// Of all its files.
    public let bytes: Int
    public let summary: String

    public var id: String { "\(repository)@\(revision)" }

    /// The entries of a list. HubListError names the first one that is not as it should be.
    public static func list(_ data: Data) throws -> [HubPackage] {
        let packages = try JSONDecoder().decode([HubPackage].self, from: data)
        for package in packages where !package.isSound { throw HubListError(entry: package.name) }
        return packages
    }

    /// Where a file of it is served; nil for a path that is none within a repository.
    public func address(of path: String) -> URL? {
        let words = path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard !words.contains(where: { $0.isEmpty || $0 == "." || $0 == ".." }) else { return nil }
        let encoded = words.compactMap { $0.addingPercentEncoding(withAllowedCharacters: Self.plain) }
        guard encoded.count == words.count else { return nil }
        return URL(string: "https://huggingface.co/\(repository)/resolve/\(revision)/\(encoded.joined(separator: "/"))")
    }

    private var isSound: Bool {
        let owner = repository.split(separator: "/", omittingEmptySubsequences: false)
        let named = owner.count == 2 && owner.allSatisfy { word in
            !word.isEmpty && word != "." && word != ".." && word.unicodeScalars.allSatisfy(Self.plain.contains)
        }
        let commit = revision.utf8.count == 40 && revision.utf8.allSatisfy { ("0"..."9").contains($0) || ("a"..."f").contains($0) }
        return named && commit && bytes > 0 && !name.isEmpty
    }

    /// RFC 3986's unreserved characters.
    private static let plain = CharacterSet(
        charactersIn: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
}

public struct HubListError: LocalizedError, Equatable {
    public let entry: String

    public var errorDescription: String? {
        "The built-in list is damaged at '\(entry)': each entry needs owner/name, a full commit and a size."
    }
}

extension ClosedRange where Bound == String {
    fileprivate func contains(_ byte: UInt8) -> Bool { contains(String(UnicodeScalar(byte))) }
}
