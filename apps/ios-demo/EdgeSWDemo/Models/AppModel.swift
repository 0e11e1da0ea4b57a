import EdgeSWKit
import Foundation
import Observation

/// The stage the app is in: choosing a package, opening it, chatting with it, or an error that occurred.
@MainActor @Observable
final class AppModel {
    enum Stage {
        case choosing
        case verifying(PackageLocation, Double)
        case loading(ModelRuntime)
        case ready(ChatModel)
        case failed(PackageLocation, String)
    }

    private(set) var stage = Stage.choosing
    let library = LibraryModel()
    let device = DeviceModel()

    private var opening: Task<Void, Never>?
    /// Ends when the package that was open before has released its memory.
    private var closing: Task<Void, Never>?
    private var attempt = 0
    private static let lastKey = "lastPackage"

    /// Opens the package that was open when the app ended.
    func restore() {
        guard case .choosing = stage, opening == nil,
            let data = UserDefaults.standard.data(forKey: Self.lastKey),
            let location = try? JSONDecoder().decode(PackageLocation.self, from: data), location.exists
        else { return }
        open(location)
    }

    /// Called when a download or a copy is complete. It is opened only if the user is still choosing a package: it must not
    /// replace an open conversation.
    func packageAdded(_ location: PackageLocation) {
        if case .choosing = stage { open(location) }
    }

    func open(_ location: PackageLocation) {
        let closed = close()
        let current = attempt
        // Removed until it is open: a package that crashes the app must not be opened at every launch.
        UserDefaults.standard.removeObject(forKey: Self.lastKey)
        stage = .verifying(location, 0)
        opening = Task {
            do {
                let opened = try await withProgress({
                    if current == self.attempt { self.stage = .verifying(location, $0) }
                }) { onProgress in
                    try OpenedPackage.read(location, onProgress: onProgress)
                }
                await closed.value  // there is no memory for two engines
                try Task.checkCancellation()
                let runtime = ModelRuntime(opened)
                guard current == attempt else { return }
                stage = .loading(runtime)
                _ = try await runtime.generator(corrected: true)
                try Task.checkCancellation()
                guard current == attempt else { return }
                stage = .ready(ChatModel(runtime))
                UserDefaults.standard.set(try? JSONEncoder().encode(location), forKey: Self.lastKey)
            } catch {
                guard current == attempt else { return }
                stage = error is CancellationError ? .choosing : .failed(location, error.localizedDescription)
            }
        }
    }

    /// Returns to the packages, from opening one, from an error or from a conversation. The conversation stays stored.
    func choose() {
        close()
        UserDefaults.standard.removeObject(forKey: Self.lastKey)
        library.refresh()
        stage = .choosing
    }

    /// Closes the package that is open or being opened. The returned task ends when its engine is no longer in memory.
    @discardableResult
    private func close() -> Task<Void, Never> {
        attempt += 1
        opening?.cancel()
        var chat: ChatModel?
        if case .ready(let ready) = stage {
            ready.interrupt(.stopped)
            chat = ready
        }
        let task = Task { [closing, opening, chat] in
            await closing?.value
            await opening?.value
            await chat?.close()
        }
        closing = task
        return task
    }

    func remove(_ location: PackageLocation) {
        library.remove(location)
        choose()
    }

    func memoryWarning() {
        if case .ready(let chat) = stage { chat.memoryWarning() }
    }

    func enterBackground() {
        if case .ready(let chat) = stage { chat.interrupt(.background) }
    }
}
