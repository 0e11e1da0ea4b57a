import Foundation

/// Why Core ML cannot run a package.
public enum EngineError: LocalizedError, Equatable {
    case noModel(String)
    case noUncorrectedFunctions
    case cannotCompile(String, String)
    case cannotLoad(String, String)
    case cannotRun(String)
    case damaged(String)

    public var errorDescription: String? {
        switch self {
        case .noModel(let why): "The package has no Core ML model that this app can run (\(why)): convert the package again."
        case .noUncorrectedFunctions:
            "This package has no functions without the correction: convert it with edgesw convert --ablation."
        case .cannotCompile(let name, let why): "Core ML cannot compile \(name) (\(why)): convert the package again."
        case .cannotLoad(let name, let why):
            "Core ML cannot load \(name) (\(why)): close other apps, or choose a smaller package or one in chunks."
        case .cannotRun(let why): "Core ML failed (\(why)): ask again, or choose a smaller package."
        case .damaged(let what): "The Core ML model has no \(what): convert the package again."
        }
    }
}
