import EdgeSWKit
import Foundation
import Observation

/// Which screen the app shows: choosing a package, opening it, talking to it, or why it could not be opened.
@MainActor @Observable
final class AppModel {
    enum Stage {
        case choosing
        case verifying(PackagePlace, Double)
        case loading(ModelRuntime)
        case ready(ChatModel)
        case failed(PackagePlace, String)
    }

    private(set) var stage = Stage.choosing
    let library = LibraryModel()
    let device = DeviceModel()

    private var opening: Task<Void, Never>?
    private var attempt = 0
    private static let last = "lastPackage"

    /// Opens what was open when the app ended.
    func restore() {
        guard case .choosing = stage, opening == nil,
            let data = UserDefaults.standard.data(forKey: Self.last),
            let place = try? JSONDecoder().decode(PackagePlace.self, from: data), place.exists
        else { return }
        open(place)
    }

    func open(_ place: PackagePlace) {
        opening?.cancel()
        attempt += 1
        let own = attempt
        // Forgotten until it is open: a package on which the app dies must not be opened at each start.
        UserDefaults.standard.removeObject(forKey: Self.last)
        stage = .verifying(place, 0)
        opening = Task {
            do {
                let opened = try await following({ if own == self.attempt { self.stage = .verifying(place, $0) } }) { tell in
                    try OpenedPackage.read(place, tell: tell)
                }
                let runtime = ModelRuntime(opened)
                guard own == attempt else { return }
                stage = .loading(runtime)
                _ = try await runtime.generator(corrected: true)
                try Task.checkCancellation()
                guard own == attempt else { return }
                stage = .ready(ChatModel(runtime))
                UserDefaults.standard.set(try? JSONEncoder().encode(place), forKey: Self.last)
            } catch {
                guard own == attempt else { return }
                stage = error is CancellationError ? .choosing : .failed(place, error.localizedDescription)
            }
        }
    }

    /// Back to the packages: from opening, from an error, or from a conversation, which is kept.
    func choose() {
        attempt += 1
        opening?.cancel()
        if case .ready(let chat) = stage { chat.interrupt(.background) }
        UserDefaults.standard.removeObject(forKey: Self.last)
        library.refresh()
        stage = .choosing
    }

    func remove(_ place: PackagePlace) {
        library.remove(place)
        choose()
    }

    func memoryWarning() {
        if case .ready(let chat) = stage { chat.memoryWarning() }
    }

    func enterBackground() {
        if case .ready(let chat) = stage { chat.interrupt(.background) }
    }
}
