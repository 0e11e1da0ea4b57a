"""What runs a packaged decoder: one small interface over every runtime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from edgesw.errors import UsageError

# Longest piece of a text that is given to a runtime at once: it bounds the logits in memory.
CHUNK = 512


class PackagedDecoder(Protocol):
    """A decoder in a package, with the key/value cache of one conversation."""

    runtime: str
    """What runs it, for people."""
    context: int
    """Most tokens that the cache holds."""

    def reset(self) -> None:
        """Forget all tokens."""

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Feed the next tokens, int (tokens,), and return their logits, float32 (tokens, vocabulary)."""

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        """Feed the next tokens, int (tokens,), as fast as can be: the last one's logits, float32 (vocabulary,)."""


class PackageMatrices(Protocol):
    """The layers' matrices of one model of a package, by canonical name."""

    def matrix(self, name: str) -> np.ndarray:
        """Float32 (rows, columns), with held-out values added back. PackageError where the matrix is missing."""


def check_room(past: int, ids: np.ndarray, context: int) -> int:
    """How many tokens there are with `ids` (tokens,) after `past` others. UsageError for more than the cache holds."""
    if past + len(ids) > context:
        raise UsageError(f"the package holds {context} tokens; convert with a larger --context.")
    return past + len(ids)


def pieces(ids: np.ndarray) -> Iterator[np.ndarray]:
    """Tokens (tokens,) in pieces that can be given to a runtime at once."""
    for at in range(0, len(ids), CHUNK):
        yield ids[at : at + CHUNK]


def last_logits(decoder: PackagedDecoder, ids: np.ndarray) -> np.ndarray:
    """Feed tokens (tokens,) piece by piece; the last one's logits, float32 (vocabulary,)."""
    for piece in pieces(ids):
        logits = decoder.step(piece)
    last: np.ndarray = logits[-1]
    return last


def feed(decoder: PackagedDecoder, ids: np.ndarray) -> np.ndarray:
    """Feed tokens (tokens,) piece by piece; all their logits, float32 (tokens, vocabulary)."""
    return np.concatenate([decoder.step(piece) for piece in pieces(ids)])
