"""Simulated compression: matrices are dequantized and run in the float decoder, without a package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.plan import CompressionPlan
from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.runtime.packaged_decoder import CHUNK

Matrices = Callable[[str], np.ndarray]
"""Canonical name -> the dequantized matrix, float32 (rows, columns)."""


class Mixed:
    """`Weights` of a float decoder in which some matrices are replaced."""

    def __init__(
        self, weights: Weights, names: frozenset[str], matrices: Matrices, cached: Mapping[str, np.ndarray]
    ) -> None:
        """`matrices` makes those in `names` whenever they are asked for; `cached` ones are shared between decoders."""
        self._weights, self._names, self._matrices, self._cached = weights, names, matrices, cached

    def tensor(self, name: str) -> np.ndarray:
        if name in self._cached:
            return self._cached[name]
        return self._matrices(name) if name in self._names else self._weights.tensor(name)

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        replaced = name in self._cached or name in self._names
        return self.tensor(name)[rows] if replaced else self._weights.rows(name, rows)


class SimulatedDecoder:
    """A `PackagedDecoder` that returns the logits of whole windows, one window a call, as a simulation gives them."""

    runtime = "simulated"
    context = CHUNK  # a window must come in one piece, as there is no cache

    def __init__(self, windows: Iterable[np.ndarray]) -> None:
        """`windows`: logits (tokens, vocabulary) of each."""
        self._windows = iter(windows)

    def reset(self) -> None:
        """Does nothing: there is no cache."""

    def step(self, ids: np.ndarray) -> np.ndarray:
        return next(self._windows)

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        logits: np.ndarray = self.step(ids)[-1]
        return logits


def float_ends(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Embedding and head in float, to be cached by decoders that run side by side."""
    return {name: checkpoint.tensor(name) for name in ("embed_tokens", "lm_head")}


def bits_per_weight(spec: DecoderSpec, plan: CompressionPlan, hold_out: HoldOut) -> float:
    """Stored bits per weight of the layers' matrices: codes, palettes, scales, zero points and corrections."""
    layers = [matrix for matrix in plan.matrices if matrix.name in set(spec.matrices())]
    stored = sum(matrix.stored_bytes for matrix in layers) + plan.correction_bytes(hold_out)
    return 8 * stored / sum(matrix.weights for matrix in layers)
