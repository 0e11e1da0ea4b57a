/// What runs a model, with the key/value cache of one conversation.
public protocol InferenceEngine: Actor {
    /// Most tokens that the cache holds.
    var context: Int { get }
    /// How many tokens it holds now.
    var count: Int { get }
    /// Feeds tokens, at least one, behind those in the cache. The logits of the last of them, (vocabulary,).
    func logits(after tokens: [Int]) async throws -> [Float]
    /// Drops the newest tokens, so that `count` are left. Where a package cannot, drops all; `count` then says so.
    func rewind(to count: Int) async throws
}
