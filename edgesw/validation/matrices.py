"""The error of each matrix of a package: of its product, on the inputs that it gets in the float model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.runtime.packaged_decoder import PackageMatrices
from edgesw.runtime.torch import Observer, TorchOps, residual_stream


@dataclass(frozen=True)
class MatrixError:
    """The error of one matrix in one model of a package."""

    target: str
    name: str
    error: float
    """Root mean square of the product's error over tokens and rows, relative to that of the product."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def matrix_errors(
    spec: DecoderSpec,
    weights: Weights,
    ids: np.ndarray,
    stored: Mapping[str, PackageMatrices],
    progress: Callable[[int], None],
) -> tuple[MatrixError, ...]:
    """Multiplies each matrix, and the one that each package stores in its place, with the input that it gets in one
    streamed float pass over windows of ids (windows, tokens). Errors of the inputs themselves do not count, nor does
    their quantization."""
    found: list[MatrixError] = []
    observe = error_observer(stored, found)
    for layer, _ in enumerate(residual_stream(TorchOps(spec, weights, ids, observe))):
        progress(layer)
    return tuple(found)


def error_observer(stored: Mapping[str, PackageMatrices], found: list[MatrixError]) -> Observer:
    """Adds the errors of each matrix that a float pass uses to `found`."""

    def observe(name: str, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> None:
        flat = x.flatten(0, -2)
        power = float((flat @ weight.T).square().sum(dtype=torch.float64))
        for target, matrices in stored.items():
            off = torch.from_numpy(matrices.matrix(name)) - weight
            error = float((flat @ off.T).square().sum(dtype=torch.float64))
            found.append(MatrixError(target, name, (error / power) ** 0.5 if power else 0.0))

    return observe
