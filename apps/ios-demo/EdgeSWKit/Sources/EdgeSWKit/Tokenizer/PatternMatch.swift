extension Pattern {
    /// A place to go back to: a step, and where in the text; of a run also how far back it may go from there.
    private struct Way {
        let step: Int
        let at: Int
        let lowest: Int
    }

    /// Where a match that begins at `start` ends; nil where none begins there.
    func end(_ text: ArraySlice<Unicode.Scalar>, from start: Int) -> Int? {
        text.withUnsafeBufferPointer { buffer in
            var ways: [Way] = []
            return end(buffer, 0, start - text.startIndex, &ways).map { $0 + text.startIndex }
        }
    }

    /// Every match from the left, none within another. An empty one right behind another match does not count.
    func matches(_ text: ArraySlice<Unicode.Scalar>) -> [Range<Int>] {
        text.withUnsafeBufferPointer { buffer in
            var found: [Range<Int>] = []
            var ways: [Way] = []
            var at = 0
            while at <= buffer.count {
                guard let end = end(buffer, 0, at, &ways), !(end == at && found.last?.upperBound == at) else {
                    at += 1
                    continue
                }
                found.append(at..<end)
                at = max(end, at)
                if end == at, found.last!.isEmpty { at += 1 }
            }
            let base = text.startIndex
            return base == 0 ? found : found.map { $0.lowerBound + base..<$0.upperBound + base }
        }
    }

    private func end(
        _ text: UnsafeBufferPointer<Unicode.Scalar>, _ first: Int, _ start: Int, _ ways: inout [Way]
    ) -> Int? {
        let bottom = ways.count
        defer { ways.removeLast(ways.count - bottom) }
        var (step, at) = (first, start)
        while true {
            var fits = true
            switch steps[step] {
            case .match: return at
            case .set(let set):
                fits = at < text.count && sets[set].contains(text[at])
                at += 1
                step += 1
            case .run(let set, let least, let most, let possessive):
                let begin = at
                while at < text.count, at - begin < most, sets[set].contains(text[at]) { at += 1 }
                fits = at - begin >= least
                step += 1
                if fits, !possessive, at - begin > least {
                    ways.append(Way(step: step, at: at - 1, lowest: begin + least))
                }
            case .jump(let to): step = to
            case .fork(let one, let other):
                ways.append(Way(step: other, at: at, lowest: at))
                step = one
            case .ahead(let count, let wanted):
                fits = (end(text, step + 1, at, &ways) != nil) == wanted
                step += count + 1
            case .place(let place):
                fits = isAt(place, text, at)
                step += 1
            }
            if fits { continue }
            guard ways.count > bottom, let way = ways.popLast() else { return nil }
            if way.at > way.lowest { ways.append(Way(step: way.step, at: way.at - 1, lowest: way.lowest)) }
            (step, at) = (way.step, way.at)
        }
    }

    private func isAt(_ place: Place, _ text: UnsafeBufferPointer<Unicode.Scalar>, _ at: Int) -> Bool {
        switch place {
        case .textStart: at == 0
        case .textEnd: at == text.count
        case .lineStart: at == 0 || (at < text.count && text[at - 1] == "\n")
        case .lineEnd: at == text.count || text[at] == "\n"
        }
    }
}
