"""Beginnings: the calibration text that ships, begun as a model reads texts: as plain text, and as a user message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import CheckpointError, UsageError
from edgesw.outliers.results import CHAT, PLAIN
from edgesw.text.texts import shipped_text
from edgesw.text.token_ids import check_ids
from edgesw.text.tokenizer import Tokenizer

# The tokens of the text that effects are measured on, those of a window, and those measured as a user message.
TEXT_TOKENS, WINDOW_TOKENS, CHAT_TOKENS = 2048, 256, 512
# More characters than a token of a window has on average.
CHARACTERS = 8
_MARK = "Apple"


@dataclass(frozen=True)
class Beginning:
    """A way in which texts begin."""

    name: str
    prefix: tuple[int, ...]
    """The tokens before the text's own."""
    prompt: np.ndarray
    """The prompt of detection, begun so: int64 (tokens,)."""
    read: Callable[[], np.ndarray]
    """Reads the windows of a text that begin so: int64 (windows, tokens)."""

    @cached_property
    def windows(self) -> np.ndarray:
        """The windows, which are read when they are first used: most models have no candidate to measure on them."""
        return self.read()


def beginnings(tokenizer: Tokenizer, spec: DecoderSpec, prompt: str, where: str) -> list[Beginning]:
    """Plain text as the tokenizer begins it, and, where that differs and the model has its tokens, the text as a user's
    message in the model's chat template. CheckpointError for a tokenizer of another model."""
    ways = {PLAIN: (tuple(tokenizer.prefix_ids), TEXT_TOKENS)}
    before = _before_message(tokenizer)
    fits = len(before) <= spec.max_positions // 2 and max(before, default=0) < spec.vocab_size
    if before and fits and before != ways[PLAIN][0]:
        ways[CHAT] = before, CHAT_TOKENS
    found = []
    for name, (prefix, tokens) in ways.items():
        plain = name == PLAIN
        ids = np.array([*(() if plain else prefix), *tokenizer.encode(prompt, add_special_tokens=plain)], np.int64)
        check_ids(ids, spec.vocab_size, tokenizer, f"{where}: the prompt of detection", CheckpointError)
        found.append(Beginning(name, prefix, ids, _reader(tokenizer, spec, prefix, tokens)))
    return found


def _reader(tokenizer: Tokenizer, spec: DecoderSpec, prefix: Sequence[int], tokens: int) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        each = max(2, min(WINDOW_TOKENS, spec.max_positions - len(prefix)))
        text = shipped_text("calibration")
        rows = []
        for content in _pieces(text.content, -(-tokens // each), each * CHARACTERS):
            ids = tokenizer.encode(content, add_special_tokens=False)[:each]
            check_ids(ids, spec.vocab_size, tokenizer, text.name, CheckpointError)
            rows.append([*prefix, *ids])
        shortest = min(map(len, rows))
        return np.array([row[:shortest] for row in rows], np.int64)

    return read


def _pieces(content: str, count: int, characters: int) -> list[str]:
    """Pieces from all over a text, which begin where its lines do."""
    starts = [content.rfind("\n", 0, len(content) * at // count) + 1 for at in range(count)]
    return [content[start : start + characters] for start in starts]


def _before_message(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The tokens that the chat template puts before a user's message; none without a template that takes one."""
    if tokenizer.chat_template is None:
        return ()
    try:
        before, mark, _ = tokenizer.chat_prompt([{"role": "user", "content": _MARK}]).rpartition(_MARK)
    except UsageError:  # a template that refuses it, or does not end
        return ()
    return tuple(tokenizer.encode(before, add_special_tokens=False)) if mark else ()
