"""Ends: whether an answer has come to its end, in few questions to the tokenizer's process."""

from __future__ import annotations

from collections.abc import Sequence

from edgesw.text.tokenizer import Tokenizer


class Ends:
    """Whether the text of some tokens has `end` in it, once it has begun. The whole text is decoded only where a token
    has the last character of `end`."""

    def __init__(self, tokenizer: Tokenizer, end: str) -> None:
        self._tokenizer, self._end = tokenizer, end
        self._may_end: dict[int, bool] = {}

    def __call__(self, ids: Sequence[int]) -> bool:
        new = [token for token in dict.fromkeys(ids) if token not in self._may_end]
        if new:
            texts = self._tokenizer.decode_each([[token] for token in new], special=True)
            self._may_end |= {token: self._end[-1] in text for token, text in zip(new, texts, strict=True)}
        return any(self._may_end[token] for token in ids) and self._end in self._tokenizer.decode(ids).lstrip()
