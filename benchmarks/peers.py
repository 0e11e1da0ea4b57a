"""What other quantizers make of a decoder's matrices, each by its own code and with its own defaults."""

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
"""Float32 (rows, columns) -> what is stored, dequantised, and its bytes: codes, scales, zero points, palettes."""


@dataclass(frozen=True)
class Source:
    """What a peer may know of a model. `folder` is for files that it must write, and goes when all is measured."""

    spec: DecoderSpec
    weights: Weights
    importance: dict[str, np.ndarray]  # mean square of each input channel on the calibration text, by matrix
    folder: Path


class Stored(Protocol):
    """The layers' matrices as a peer stores them."""

    def tensor(self, name: str) -> np.ndarray:
        """Dequantised, float32 (rows, columns)."""

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per weight of all matrices; ask when all have been made."""

    @property
    def note(self) -> str:
        """What the row's title must add, or nothing."""


@dataclass(frozen=True)
class Peer:
    """`needs` is the module, and the package that brings it, where edgesw does not install it itself."""

    title: str
    store: Callable[[Source], Stored]
    needs: tuple[str, str] | None = None
    fits: Callable[[DecoderSpec], bool] = lambda spec: True

    def missing(self) -> str | None:
        """The package to install first, if any."""
        return self.needs[1] if self.needs and importlib.util.find_spec(self.needs[0]) is None else None


@dataclass(frozen=True)
class ByMatrix:
    """`Peer.store` of a quantizer that takes one matrix at a time.

    `divides` divides the rows and columns of a matrix that it takes: others stay float16, as its tool leaves them.
    """

    quantize: Quantize
    divides: tuple[int, int] = (1, 1)

    def __call__(self, source: Source) -> PeerMatrices:
        return PeerMatrices(source.weights, self.quantize, self.divides)


class PeerMatrices:
    """The matrices of a decoder as a peer stores them, made when asked for, and how many bits that takes."""

    def __init__(self, weights: Weights, quantize: Quantize, divides: tuple[int, int] = (1, 1)) -> None:
        self._weights, self._quantize, self._divides = weights, quantize, divides
        self._stored, self._count, self._left_float = 0.0, 0, 0

    def tensor(self, name: str) -> np.ndarray:
        values = self._weights.tensor(name)
        if any(size % divisor for size, divisor in zip(values.shape, self._divides, strict=True)):
            dequantised, stored = values.astype(np.float16).astype(np.float32), 2.0 * values.size
            self._left_float += 1
        else:
            dequantised, stored = self._quantize(values)
        self._stored += stored
        self._count += values.size
        return dequantised

    @property
    def bits_per_weight(self) -> float:
        """Of the matrices made so far."""
        return 8 * self._stored / self._count

    @property
    def note(self) -> str:
        return f" ({self._left_float} matrices left float16)" if self._left_float else ""
