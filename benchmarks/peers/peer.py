"""Peer: a quantizer of another project, run by its own code with its own defaults on a decoder's matrices."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec

Quantize = Callable[[np.ndarray], tuple[np.ndarray, float]]
"""Float32 (rows, columns) -> the stored matrix, dequantized, and its bytes: codes, scales, zero points, palettes."""


@dataclass(frozen=True)
class Source:
    """The model that a peer quantizes."""

    spec: DecoderSpec
    weights: Weights
    importance: dict[str, np.ndarray]  # mean square of each input channel on the calibration text, by matrix
    folder: Path
    """For files that the peer must write; removed after the measurement."""


class Stored(Protocol):
    """The layers' matrices as a peer stores them."""

    def tensor(self, name: str) -> np.ndarray:
        """Dequantized, float32 (rows, columns)."""

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per weight of all matrices, once all have been made."""

    @property
    def note(self) -> str:
        """What to print after the row's title, or nothing."""


@dataclass(frozen=True)
class Peer:
    """A row of the quality table."""

    title: str
    store: Callable[[Source], Stored]
    needs: tuple[str, str] | None = None
    """The module it imports and the package to install for it, unless edgesw depends on that package."""
    fits: Callable[[DecoderSpec], bool] = lambda spec: True
    """Whether the row says something about such a decoder."""

    def missing(self) -> str | None:
        """The package to install first, if any."""
        return self.needs[1] if self.needs and importlib.util.find_spec(self.needs[0]) is None else None


@dataclass(frozen=True)
class ByMatrix:
    """`Peer.store` of a quantizer that takes one matrix at a time.

    It takes matrices whose rows and columns are multiples of `divides`; others stay float16, as its tool leaves them.
    """

    quantize: Quantize
    divides: tuple[int, int] = (1, 1)

    def __call__(self, source: Source) -> PeerMatrices:
        return PeerMatrices(source.weights, self.quantize, self.divides)


class PeerMatrices:
    """A decoder's matrices as a peer stores them, made on demand, and the bits that they take."""

    def __init__(self, weights: Weights, quantize: Quantize, divides: tuple[int, int] = (1, 1)) -> None:
        self._weights, self._quantize, self._divides = weights, quantize, divides
        self._stored, self._count, self._left_float = 0.0, 0, 0

    def tensor(self, name: str) -> np.ndarray:
        values = self._weights.tensor(name)
        if any(size % divisor for size, divisor in zip(values.shape, self._divides, strict=True)):
            dequantized, stored = values.astype(np.float16).astype(np.float32), 2.0 * values.size
            self._left_float += 1
        else:
            dequantized, stored = self._quantize(values)
        self._stored += stored
        self._count += values.size
        return dequantized

    @property
    def bits_per_weight(self) -> float:
        """Of the matrices made so far."""
        return 8 * self._stored / self._count

    @property
    def note(self) -> str:
        return f" ({self._left_float} matrices left float16)" if self._left_float else ""
