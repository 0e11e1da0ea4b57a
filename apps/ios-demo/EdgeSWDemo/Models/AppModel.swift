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
    /// Waits until what was open before has given its memory back.
    private var leaving: Task<Void, Never>?
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

    /// A download or a copy is there. It is opened only for someone who still looks at the packages: an open conversation
    /// must not be taken away by what ends in the background.
    func arrived(_ place: PackagePlace) {
        if case .choosing = stage { open(place) }
    }

    func open(_ place: PackagePlace) {
        let left = leave()
        let own = attempt
        // Forgotten until it is open: a package on which the app dies must not be opened at each start.
        UserDefaults.standard.removeObject(forKey: Self.last)
        stage = .verifying(place, 0)
        opening = Task {
            do {
                let opened = try await following({ if own == self.attempt { self.stage = .verifying(place, $0) } }) { tell in
                    try OpenedPackage.read(place, tell: tell)
                }
                await left.value  // two engines do not fit
                try Task.checkCancellation()
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
        leave()
        UserDefaults.standard.removeObject(forKey: Self.last)
        library.refresh()
        stage = .choosing
    }

    /// Ends what is open or opening. The task that it gives is over when no engine of it is in memory any more.
    @discardableResult
    private func leave() -> Task<Void, Never> {
        attempt += 1
        opening?.cancel()
        var chat: ChatModel?
        if case .ready(let ready) = stage {
            ready.interrupt(.stopped)
            chat = ready
        }
        let task = Task { [leaving, opening, chat] in
            await leaving?.value
            await opening?.value
            await chat?.close()
        }
        leaving = task
        return task
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
