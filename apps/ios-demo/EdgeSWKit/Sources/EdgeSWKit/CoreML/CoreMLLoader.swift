#if canImport(CoreML)
@preconcurrency import CoreML
import Foundation

/// Compiles one .mlpackage where it is not kept compiled yet, and loads its functions.
struct CoreMLLoader {
    let package: ModelPackage
    let model: URL
    let compiled: CompiledModels

    func compile() async throws { _ = try await place() }

    /// A function by its name; nil for the only one. What is kept and does not load is compiled again once: it may be of
    /// an older system, or half written.
    func load(_ function: String?, _ units: MLComputeUnits) async throws -> MLModel {
        let settings = MLModelConfiguration()
        settings.computeUnits = units
        settings.functionName = function
        do {
            return try await MLModel.load(contentsOf: place(), configuration: settings)
        } catch let error as EngineError {
            throw error
        } catch {
            try? FileManager.default.removeItem(at: try await place())
            do {
                return try await MLModel.load(contentsOf: place(), configuration: settings)
            } catch let error as EngineError {
                throw error
            } catch {
                throw EngineError.cannotLoad(name, error.localizedDescription)
            }
        }
    }

    private var name: String { model.lastPathComponent }

    private func place() async throws -> URL {
        let path = String(model.path.dropFirst(package.folder.path.count).drop { $0 == "/" })
        guard let place = compiled.place(of: path, files: package.manifest.files.mapValues(\.sha256)) else {
            throw EngineError.noModel("\(path) is not in manifest.json")
        }
        do {
            return try await compiled.kept(at: place) { try await MLModel.compileModel(at: model) }
        } catch {
            throw EngineError.cannotCompile(name, error.localizedDescription)
        }
    }
}

extension CoreMLForm {
    /// The units that the package is made for, as edgesw.runtime.compute_plan has them.
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
