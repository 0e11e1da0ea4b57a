"""Examination: whether a package is off because of its compression, its graph, or one damaged matrix.

KL divergence alone cannot tell: a wrong rotary embedding or one layer's doubled scales may cost a model no more than
four bits do (docs/validation.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.runtime.packaged_decoder import PackagedDecoder, PackageMatrices, feed
from edgesw.runtime.torch import FloatLogits, TorchOps, residual_stream
from edgesw.validation.matrices import MatrixError, error_observer
from edgesw.validation.measure import divergence

# A package below this divergence on every kind of text is not examined: nothing there is worth finding.
SUSPECT = 0.05
# What a runtime may add to the divergence of the matrices alone, in float32: rounding to float16, inputs in 8 bits.
MOST_TIMES, MOST_MORE = 1.2, 0.02
# No matrix that was compressed to be used is off by as much. 4 bits cost 5 to 20%, 3 bits 15 to 40%.
MOST_ERROR = 0.6
TOKENS, NAMED = 128, 3


@dataclass(frozen=True)
class Examination:
    """A package's divergence over one short window, and what its matrices explain of it."""

    divergence: float
    """KL(float || package), nats."""
    of_matrices: float
    """KL(float || float decoder with the package's matrices), nats."""
    worst: tuple[MatrixError, ...]
    """The matrices that are furthest off."""
    quantized_inputs: bool = False
    """Whether inputs have 8 bits, which also cost something that matrices do not explain."""

    @property
    def failures(self) -> tuple[str, ...]:
        """A line for each fault that is not compression."""
        found = []
        if not self.quantized_inputs and not self.divergence <= MOST_TIMES * self.of_matrices + MOST_MORE:
            found.append(
                f"its matrices alone, in the float decoder, have a KL divergence of {self.of_matrices:.3f}, and the "
                f"package {self.divergence:.3f}: the rest is the graph or its runtime, not compression"
            )
        found += [
            f"{each.name} is off by {each.error:.0%}: it is not the float model's"
            for each in self.worst
            if not each.error <= MOST_ERROR
        ]
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class StoredWeights:
    """`Weights` of the float model with the layers' matrices that a package stores. Each is decoded once for two uses:
    `matrix` keeps it until it is taken with `tensor`."""

    def __init__(self, checkpoint: Checkpoint, stored: PackageMatrices) -> None:
        self._checkpoint, self._stored = checkpoint, stored
        self._kept: dict[str, np.ndarray] = {}

    def matrix(self, name: str) -> np.ndarray:
        """As `PackageMatrices.matrix`."""
        self._kept[name] = self._stored.matrix(name)
        return self._kept[name]

    def tensor(self, name: str) -> np.ndarray:
        if name in self._kept:
            return self._kept.pop(name)
        return (self._stored.matrix if name in self._checkpoint.spec.matrices() else self._checkpoint.tensor)(name)

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self._checkpoint.rows(name, rows)


def examine(
    target: str,
    stored: PackageMatrices,
    checkpoint: Checkpoint,
    ids: np.ndarray,
    decoder: PackagedDecoder,
    quantized_inputs: bool,
    progress: Callable[[int], None],
) -> Examination:
    """Examines a target on the first TOKENS of a window of ids (tokens,). One pass runs the float model twice, layer by
    layer: with its own matrices and with the package's."""
    ids, spec = ids[None, :TOKENS], checkpoint.spec
    errors: list[MatrixError] = []
    own = StoredWeights(checkpoint, stored)
    streams = (TorchOps(spec, checkpoint, ids, error_observer({target: own}, errors)), TorchOps(spec, own, ids))
    for layer, hidden in enumerate(zip(*map(residual_stream, streams), strict=True)):  # noqa: B007 - the last is used
        progress(layer)
    exact, alone = (torch.from_numpy(next(iter(FloatLogits(spec, checkpoint, ids, hidden=each)))) for each in hidden)
    decoder.reset()
    whole = divergence(exact, torch.from_numpy(feed(decoder, ids[0])))
    worst = sorted(errors, key=lambda each: -each.error)[:NAMED]
    return Examination(whole, divergence(exact, alone), tuple(worst), quantized_inputs)
