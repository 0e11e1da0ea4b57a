import EdgeSWKit
import Foundation

struct ChatSettings: Codable, Sendable, Equatable {
    var system = ""
    var sampling = SamplingOptions(temperature: 0.7, topP: 0.9)
    var maximumTokens = 512
}

/// Stores the conversation with a package across launches of the app.
struct ConversationStore {
    struct Content: Codable {
        var session: ChatSession
        var settings: ChatSettings
    }

    private let url: URL

    init(_ location: PackageLocation) {
        url = Folders.conversations.appending(path: "\(location.key).json")
    }

    /// Returns the stored conversation; nil if there is none, or if it is damaged or of another version.
    func load() -> Content? {
        (try? Data(contentsOf: url)).flatMap { try? JSONDecoder().decode(Content.self, from: $0) }
    }

    func save(_ content: Content) {
        try? JSONEncoder().encode(content).write(to: url, options: [.atomic, .completeFileProtectionUntilFirstUserAuthentication])
    }

    func remove() {
        try? FileManager.default.removeItem(at: url)
    }
}
