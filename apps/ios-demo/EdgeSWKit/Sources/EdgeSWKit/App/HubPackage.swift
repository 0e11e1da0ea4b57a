import Foundation

/// A package on the Hugging Face Hub that the app offers to download. The list is a JSON file in the app.
public struct HubPackage: Codable, Sendable, Equatable, Identifiable {
    public let name: String
    /// `owner/name`
    public let repository: String
    /// A full commit hash: the package at a branch could change.
    public let revision: String
    /// The size of all its files.
    public let bytes: Int
    public let summary: String

    public var id: String { "\(repository)@\(revision)" }

    /// Reads a list. Throws a HubListError that names the first invalid entry.
    public static func list(_ data: Data) throws -> [HubPackage] {
        let packages = try JSONDecoder().decode([HubPackage].self, from: data)
        for package in packages where !package.isValid { throw HubListError(entry: package.name) }
        return packages
    }

    /// The URL of a file; nil for a path that is not valid in a repository.
    public func url(of path: String) -> URL? {
        let components = path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard !components.contains(where: { $0.isEmpty || $0 == "." || $0 == ".." }) else { return nil }
        let encoded = components.compactMap { $0.addingPercentEncoding(withAllowedCharacters: Self.unreserved) }
        guard encoded.count == components.count else { return nil }
        return URL(string: "https://huggingface.co/\(repository)/resolve/\(revision)/\(encoded.joined(separator: "/"))")
    }

    private var isValid: Bool {
        let parts = repository.split(separator: "/", omittingEmptySubsequences: false)
        let isRepository = parts.count == 2 && parts.allSatisfy { part in
            !part.isEmpty && part != "." && part != ".." && part.unicodeScalars.allSatisfy(Self.unreserved.contains)
        }
        let isCommit = revision.utf8.count == 40 && revision.utf8.allSatisfy { ("0"..."9").contains($0) || ("a"..."f").contains($0) }
        return isRepository && isCommit && bytes > 0 && !name.isEmpty
    }

    /// RFC 3986's unreserved characters.
    private static let unreserved = CharacterSet(
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
