"""The numerics of a compression without a package: matrices are dequantised and run in the float decoder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np

from edgesw.compress.plan import CompressionPlan
from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.runtime.packaged_decoder import CHUNK
from edgesw.runtime.torch import FloatLogits

Matrices = Callable[[str], np.ndarray]
"""Canonical name -> the dequantised matrix, float32 (rows, columns)."""


class Mixed:
    """`Weights` of a float decoder in which some matrices are others': made when asked for, or kept ones."""

    def __init__(
        self, weights: Weights, names: frozenset[str], matrices: Matrices, kept: Mapping[str, np.ndarray]
    ) -> None:
        """`matrices` makes those in `names`; `kept` are at hand, so that decoders can share them in memory."""
        self._weights, self._names, self._matrices, self._kept = weights, names, matrices, kept

    def tensor(self, name: str) -> np.ndarray:
        if name in self._kept:
            return self._kept[name]
        return self._matrices(name) if name in self._names else self._weights.tensor(name)

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        special = name in self._kept or name in self._names
        return self.tensor(name)[rows] if special else self._weights.rows(name, rows)


class NumericsDecoder:
    """A `PackagedDecoder` that gives the logits of windows that the float decoder has already run, one by one."""

    runtime = "numerics only"
    context = CHUNK  # a window must come in one piece, as there is no cache

    def __init__(self, spec: DecoderSpec, weights: Weights, ids: np.ndarray) -> None:
        self._logits = iter(FloatLogits(spec, weights, ids))

    def reset(self) -> None:
        """Nothing to forget."""

    def step(self, ids: np.ndarray) -> np.ndarray:
        return next(self._logits)


def bits_per_weight(
    spec: DecoderSpec, plan: CompressionPlan, columns: Mapping[str, Collection[int]], fraction: float = 0.0
) -> float:
    """Stored bits per weight of the layers' matrices: codes, palettes, scales, zero points and corrections, which hold
    these columns by matrix name and a fraction of the scalars."""
    layers = [matrix for matrix in plan.matrices if matrix.name in set(spec.matrices())]
    stored = sum(matrix.stored_bytes for matrix in layers) + plan.correction_bytes(columns, fraction)
    return 8 * stored / sum(matrix.weights for matrix in layers)
