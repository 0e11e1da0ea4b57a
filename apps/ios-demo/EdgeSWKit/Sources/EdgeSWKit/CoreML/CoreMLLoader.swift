#if canImport(CoreML)
@preconcurrency import CoreML
import Foundation

/// Compiles an .mlpackage that is not in the cache yet, and loads its functions.
struct CoreMLLoader {
    let package: ModelPackage
    let model: URL
    let cache: CompiledModels

    func compile() async throws { _ = try await compiledURL() }

    /// Loads a function by its name; nil means the only one. A cached model that does not load is compiled again, once: it
    /// may be of an older system, or incomplete.
    func load(_ function: String?, _ units: MLComputeUnits) async throws -> MLModel {
        let settings = MLModelConfiguration()
        settings.computeUnits = units
        settings.functionName = function
        do {
            return try await MLModel.load(contentsOf: compiledURL(), configuration: settings)
        } catch let error as EngineError {
            throw error
        } catch {
            try? FileManager.default.removeItem(at: try await compiledURL())
            do {
                return try await MLModel.load(contentsOf: compiledURL(), configuration: settings)
            } catch let error as EngineError {
                throw error
            } catch {
                throw EngineError.cannotLoad(name, error.localizedDescription)
            }
        }
    }

    private var name: String { model.lastPathComponent }

    private func compiledURL() async throws -> URL {
        let path = String(model.path.dropFirst(package.folder.path.count).drop { $0 == "/" })
        guard let url = cache.url(of: path, files: package.manifest.files.mapValues(\.sha256)) else {
            throw EngineError.noModel("\(path) is not in manifest.json")
        }
        do {
            return try await cache.model(at: url) { try await MLModel.compileModel(at: model) }
        } catch {
            throw EngineError.cannotCompile(name, error.localizedDescription)
        }
    }
}

extension CoreMLLayout {
    /// The compute units that the package is made for, the same as in edgesw.runtime.compute_plan.
    var units: MLComputeUnits {
        switch compute {
        case "gpu": .cpuAndGPU
        case "ane": .cpuAndNeuralEngine
        case "cpu": .cpuOnly
        default: .all
        }
    }
}
#endif
