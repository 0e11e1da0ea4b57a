/// A model that runs, with the key/value cache of one conversation.
public protocol InferenceEngine: Actor {
    /// The largest number of tokens that the cache holds.
    var context: Int { get }
    /// The number of tokens in the cache.
    var count: Int { get }
    /// Appends tokens, at least one, to the cache. Returns the logits of the last of them, (vocabulary,).
    func logits(after tokens: [Int]) async throws -> [Float]
    /// Removes the newest tokens so that `count` are left. A package that cannot do that removes all of them; `count` then
    /// says so.
    func rewind(to count: Int) async throws
}
