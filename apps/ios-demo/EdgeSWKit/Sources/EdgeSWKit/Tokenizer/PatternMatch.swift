extension Pattern {
    /// A state to backtrack to: a step and a position in the text. A run can give characters back down to `lowest`.
    private struct Backtrack {
        let step: Int
        let position: Int
        let lowest: Int
    }

    /// The end of the match that begins at `start`; nil if none begins there.
    func end(_ text: ArraySlice<Unicode.Scalar>, from start: Int) -> Int? {
        text.withUnsafeBufferPointer { buffer in
            var stack: [Backtrack] = []
            return end(buffer, 0, start - text.startIndex, &stack).map { $0 + text.startIndex }
        }
    }

    /// All matches from the left, without overlaps. An empty match right after another match does not count.
    func matches(_ text: ArraySlice<Unicode.Scalar>) -> [Range<Int>] {
        text.withUnsafeBufferPointer { buffer in
            var found: [Range<Int>] = []
            var stack: [Backtrack] = []
            var position = 0
            while position <= buffer.count {
                guard let end = end(buffer, 0, position, &stack), !(end == position && found.last?.upperBound == position)
                else {
                    position += 1
                    continue
                }
                found.append(position..<end)
                position = max(end, position)
                if end == position, found.last!.isEmpty { position += 1 }
            }
            let base = text.startIndex
            return base == 0 ? found : found.map { $0.lowerBound + base..<$0.upperBound + base }
        }
    }

    private func end(
        _ text: UnsafeBufferPointer<Unicode.Scalar>, _ first: Int, _ start: Int, _ stack: inout [Backtrack]
    ) -> Int? {
        let bottom = stack.count
        defer { stack.removeLast(stack.count - bottom) }
        var (step, position) = (first, start)
        while true {
            var matches = true
            switch steps[step] {
            case .match: return position
            case .set(let set):
                matches = position < text.count && sets[set].contains(text[position])
                position += 1
                step += 1
            case .run(let set, let least, let most, let possessive):
                let begin = position
                while position < text.count, position - begin < most, sets[set].contains(text[position]) { position += 1 }
                matches = position - begin >= least
                step += 1
                if matches, !possessive, position - begin > least {
                    stack.append(Backtrack(step: step, position: position - 1, lowest: begin + least))
                }
            case .jump(let target): step = target
            case .fork(let one, let other):
                stack.append(Backtrack(step: other, position: position, lowest: position))
                step = one
            case .lookahead(let count, let isPositive):
                matches = (end(text, step + 1, position, &stack) != nil) == isPositive
                step += count + 1
            case .anchor(let anchor):
                matches = isAt(anchor, text, position)
                step += 1
            }
            if matches { continue }
            guard stack.count > bottom, let last = stack.popLast() else { return nil }
            if last.position > last.lowest {
                stack.append(Backtrack(step: last.step, position: last.position - 1, lowest: last.lowest))
            }
            (step, position) = (last.step, last.position)
        }
    }

    private func isAt(_ anchor: Anchor, _ text: UnsafeBufferPointer<Unicode.Scalar>, _ position: Int) -> Bool {
        switch anchor {
        case .textStart: position == 0
        case .textEnd: position == text.count
        case .lineStart: position == 0 || (position < text.count && text[position - 1] == "\n")
        case .lineEnd: position == text.count || text[position] == "\n"
        }
    }
}
