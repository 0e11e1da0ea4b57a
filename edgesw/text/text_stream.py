"""TextStream: the text of tokens that arrive one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Decoder(Protocol):
    """What a stream needs of a tokenizer."""

    def decode_each(self, each: Sequence[Sequence[int]], *, special: bool = False) -> list[str]: ...


class TextStream:
    """Decodes token ids one by one into whole characters; what `push` and `end` return adds up to the decoded text."""

    # A character has at most four bytes and a token at least one: this many tokens hold at least one whole character.
    _LONGEST = 4

    def __init__(self, tokenizer: Decoder, skipped: frozenset[int]) -> None:
        self._tokenizer, self._skipped = tokenizer, skipped
        # The last tokens whose text was returned: context, as decoders treat the beginning of a text differently.
        self._shown: list[int] = []
        self._held: list[int] = []  # tokens whose text was not returned yet

    def push(self, token: int) -> str:
        """The text that this token completes; empty while a character is incomplete."""
        if token in self._skipped:
            return ""
        self._held.append(token)
        text = self._pending()
        if text.endswith("\N{REPLACEMENT CHARACTER}") and len(self._held) < self._LONGEST:
            return ""
        return self._out(text)

    def end(self) -> str:
        """The rest of the text: empty, unless the last character was never completed."""
        return self._out(self._pending())

    def _pending(self) -> str:
        before, text = self._tokenizer.decode_each([self._shown, self._shown + self._held], special=True)
        return text[len(before) :]

    def _out(self, text: str) -> str:
        # A token without text of its own (the space that begins a text) remains context for the next.
        self._shown, self._held = (self._held if text else self._shown + self._held), []
        return text
