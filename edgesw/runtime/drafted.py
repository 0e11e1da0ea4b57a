"""DraftedDecoder: greedy decoding of one prompt after the other; it reads what they share once, and checks drafts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgesw.runtime.packaged_decoder import CHUNK, PackagedDecoder, Rewinding

Over = Callable[[Sequence[int]], bool]
"""Whether an answer (its tokens so far) has ended, for whatever reason besides the stop tokens."""


class DraftedDecoder:
    """A package that continues prompts greedily: what `edgesw.runtime.generate.generate` writes, in fewer calls.

    The tokens that a prompt has in common with the one before stay in the cache. A draft of the answer is computed in
    one call, which is right for as long as the draft is (speculative decoding, arXiv 2211.17192, for greedy decoding).
    """

    def __init__(self, decoder: PackagedDecoder) -> None:
        self.decoder = decoder
        # A program of one token per call gains nothing from a draft.
        self._drafts = not getattr(decoder, "one_by_one", False)
        self._held: list[int] = []
        decoder.reset()

    def continued(
        self, prompt: Sequence[int], most: int, stop: Sequence[int], draft: Sequence[int], over: Over
    ) -> list[int]:
        """The most likely tokens after `prompt`, until one of `stop`, `most` tokens, a full context or `over`."""
        text: list[int] = []
        most = min(most, self.decoder.context - len(prompt))
        draft = list(draft[: most - 1]) if self._drafts else []
        tries = 2
        while len(text) < most:
            new, ended = accepted(self._likeliest([*prompt, *text], draft), draft, most - len(text), stop)
            text += new
            if ended or over(text):
                break
            # After a token that was wrong the rest may be right, as where only a number differs: worth one more try.
            tries -= len(new) == 1
            draft = draft[len(new) :] if tries > 0 else []
        return text

    def _likeliest(self, known: list[int], draft: list[int]) -> list[int]:
        """The most likely token after `known`, and after each token of `draft`."""
        rest = self._go_back(known) + draft
        if not draft:
            logits = self.decoder.prefill(np.array(rest))[None]
        else:
            far = len(rest) - len(draft) - 1
            if far > CHUNK:
                self.decoder.prefill(np.array(rest[:far]))
                rest = rest[far:]
            logits = self.decoder.step(np.array(rest))[-len(draft) - 1 :]
        self._held = known + draft
        return [int(token) for token in logits.argmax(-1)]

    def _go_back(self, known: list[int]) -> list[int]:
        """Makes the cache hold the longest part of `known` that it can; returns the rest, at least one token."""
        same = min(same_tokens(self._held, known), len(known) - 1)
        if same < len(self._held) and not (isinstance(self.decoder, Rewinding) and self.decoder.rewind(same)):
            self.decoder.reset()
            same = 0
        return known[same:]


def accepted(likeliest: Sequence[int], draft: Sequence[int], most: int, stop: Sequence[int]) -> tuple[list[int], bool]:
    """The tokens that a check of a draft establishes, at most `most`, and whether one of `stop` came after them.
    `likeliest` are the most likely tokens before each token of the draft and after the last."""
    new = list(likeliest[: same_tokens(likeliest, draft) + 1])[:most]
    cut = next((at for at, token in enumerate(new) if token in stop), None)
    return (new, False) if cut is None else (new[:cut], True)


def all_begin_with(rows: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all rows begin with in common."""
    return same_tokens(min(rows), max(rows))  # in their order, all others are between these two


def same_tokens(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences begin with in common."""
    return next((at for at, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), min(len(a), len(b)))
