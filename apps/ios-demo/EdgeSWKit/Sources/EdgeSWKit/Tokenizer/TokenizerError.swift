import Foundation

/// Why a tokenizer's files cannot be used.
public enum TokenizerError: LocalizedError, Equatable {
    /// `file` is missing something, or is no JSON: `reason` says what.
    case damaged(file: String, reason: String)
    /// `tokenizer.json` asks for something that is not built here, `name`: its tokens would be other ones than the
    /// model was trained on.
    case unsupported(part: String, name: String)

    public var errorDescription: String? {
        switch self {
        case .damaged(let file, let reason): "\(file) is damaged (\(reason)): convert the package again."
        case .unsupported(let part, let name):
            "tokenizer.json has a \(part) that this app does not know, \(name): choose another model."
        }
    }

    static func damaged(_ reason: String) -> TokenizerError { .damaged(file: "tokenizer.json", reason: reason) }
}
