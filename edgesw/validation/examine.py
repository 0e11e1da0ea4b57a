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
from edgesw.decoder.ops import Weights
from edgesw.runtime.packaged_decoder import PackagedDecoder, PackageMatrices, feed
from edgesw.runtime.torch import FloatLogits
from edgesw.validation.matrices import MatrixError, matrix_errors
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


@dataclass(frozen=True)
class StoredWeights:
    """`Weights` of the float model with the layers' matrices that a package stores."""

    checkpoint: Checkpoint
    stored: PackageMatrices

    def tensor(self, name: str) -> np.ndarray:
        return self.stored.matrix(name) if name in self.checkpoint.spec.matrices() else self.checkpoint.tensor(name)

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self.checkpoint.rows(name, rows)


def examine(
    target: str,
    stored: PackageMatrices,
    checkpoint: Checkpoint,
    ids: np.ndarray,
    decoder: PackagedDecoder,
    quantized_inputs: bool,
    progress: Callable[[int], None],
) -> Examination:
    """Examines a target on the first TOKENS of a window of ids (tokens,): three streamed passes over these."""
    ids = ids[None, :TOKENS]
    exact = _logits(checkpoint, checkpoint, ids)
    decoder.reset()
    whole = divergence(exact, torch.from_numpy(feed(decoder, ids[0])))
    alone = divergence(exact, _logits(checkpoint, StoredWeights(checkpoint, stored), ids))
    errors = matrix_errors(checkpoint.spec, checkpoint, ids, {target: stored}, progress)
    return Examination(whole, alone, tuple(sorted(errors, key=lambda each: -each.error)[:NAMED]), quantized_inputs)


def _logits(checkpoint: Checkpoint, weights: Weights, ids: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(next(iter(FloatLogits(checkpoint.spec, weights, ids))))
