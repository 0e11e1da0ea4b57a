"""PackagedDecoder and PackageMatrices: the interfaces of every runtime and of every reader of a package's matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from edgesw.errors import UsageError

# The longest piece of a text that a runtime gets at once: it bounds the logits in memory.
CHUNK = 512


class PackagedDecoder(Protocol):
    """A decoder in a package, with the key/value cache of one conversation."""

    runtime: str
    """The name of what runs it, for people."""
    context: int
    """How many tokens the cache holds at most."""

    def reset(self) -> None:
        """Forgets all tokens."""

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Feeds the next tokens, int (tokens,), and returns their logits, float32 (tokens, vocabulary)."""

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        """Feeds the next tokens, int (tokens,), as fast as possible; returns the logits of the last one, float32
        (vocabulary,)."""


@runtime_checkable
class Rewinding(Protocol):
    """A `PackagedDecoder` that can go back, so that prompts which begin alike are read once."""

    def rewind(self, tokens: int) -> bool:
        """Forgets all but the first `tokens` tokens. False, and nothing has changed, where the caches no longer hold
        what came before them."""


class PackageMatrices(Protocol):
    """The layers' matrices of one model of a package, by canonical name."""

    def matrix(self, name: str) -> np.ndarray:
        """Float32 (rows, columns), with held-out values added back. PackageError where the matrix is missing."""


def check_room(past: int, ids: np.ndarray, context: int) -> int:
    """The number of tokens with `ids` (tokens,) after `past` others. UsageError for more than the cache holds."""
    if past + len(ids) > context:
        raise UsageError(f"the package holds {context} tokens; convert with a larger --context.")
    return past + len(ids)


def pieces(ids: np.ndarray) -> Iterator[np.ndarray]:
    """Tokens (tokens,) in pieces that a runtime gets at once."""
    for at in range(0, len(ids), CHUNK):
        yield ids[at : at + CHUNK]


def last_logits(decoder: PackagedDecoder, ids: np.ndarray) -> np.ndarray:
    """Feeds tokens (tokens,) piece by piece; returns the logits of the last one, float32 (vocabulary,)."""
    for piece in pieces(ids):
        logits = decoder.step(piece)
    last: np.ndarray = logits[-1]
    return last


def feed(decoder: PackagedDecoder, ids: np.ndarray) -> np.ndarray:
    """Feeds tokens (tokens,) piece by piece; returns all logits, float32 (tokens, vocabulary)."""
    logits = [decoder.step(piece) for piece in pieces(ids)]
    return logits[0] if len(logits) == 1 else np.concatenate(logits)
