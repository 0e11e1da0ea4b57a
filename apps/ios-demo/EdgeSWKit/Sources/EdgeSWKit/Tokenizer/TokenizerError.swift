import Foundation

/// Why a tokenizer's files cannot be used.
public enum TokenizerError: LocalizedError, Equatable {
    /// `file` is incomplete or invalid: `reason` says how.
    case damaged(file: String, reason: String)
    /// `tokenizer.json` needs `name`, which is not implemented here: the tokens would differ from those that the model was
    /// trained on.
    case unsupported(part: String, name: String)

    public var errorDescription: String? {
        switch self {
        case .damaged(let file, let reason): "\(file) is damaged (\(reason)): convert the package again."
        case .unsupported(let part, let name):
            "tokenizer.json has a \(part) that this app does not support, \(name): choose another model."
        }
    }

    static func damaged(_ reason: String) -> TokenizerError { .damaged(file: "tokenizer.json", reason: reason) }
}
