"""Activations: 8-bit inputs of matrices, with and without the super activation (arXiv 2411.07191, section 5.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch

from edgesw.calibration.outlier_channels import columns_of, joined
from edgesw.decoder.names import TensorName
from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.outliers.results import SuperActivation
from edgesw.recipes.coordinates import Coordinates
from edgesw.runtime.torch import TorchOps
from edgesw.study.evaluation import Condition, Evaluation
from edgesw.study.result import ACCURACY, AGREEMENT, INCREASE, PERPLEXITY, Column, Findings

TITLE = "activations quantized to 8 bits"
LEVELS = 127  # symmetric: integers from -127 to 127
# An outlier is larger than this many times the root mean square of its window's whole input.
OUTLIER = 30.0
COLUMNS = (
    Column("condition", "condition"),
    Column("kept", "kept in float", ".4%"),
    PERPLEXITY,
    INCREASE,
    ACCURACY,
    AGREEMENT,
)
# The matrices that read the residual stream.
READERS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")

Keep = Callable[[torch.Tensor, str], torch.Tensor]
"""Says which entries of a matrix's input stay in float: (input, name of the matrix) to a bool tensor like the input."""


def run(evaluation: Evaluation) -> Findings:
    """Quantizes the inputs of the layers' matrices to 8 bits. With one scale per window: all entries, all but the super
    activation's channels, all but outliers; and with one scale per token: all entries."""
    plans: list[tuple[str, bool, Keep]] = [
        ("one scale per window", False, nothing),
        ("the same, super activation kept in float", False, SuperActivationChannels(evaluation)),
        ("the same, outliers kept in float", False, outliers),
        ("one scale per token", True, nothing),
    ]
    counts = [Count() for _ in plans]
    conditions = [
        Condition(name, ops=_make(per_token, keep, count))
        for (name, per_token, keep), count in zip(plans, counts, strict=True)
    ]
    results = evaluation.measure_all("activations", conditions)
    unchanged = evaluation.measure(evaluation.float)
    rows = [{"condition": "float", **vars(unchanged), "increase": 0.0}] + [
        {
            "condition": condition.name,
            "kept": count.kept / count.entries,
            **vars(result),
            "increase": result.perplexity / unchanged.perplexity - 1,
        }
        for condition, count, result in zip(conditions, counts, results, strict=True)
    ]
    notes = (
        "A scale is the largest magnitude of what is quantized, over 127, computed for each input (dynamic).",
        f"An outlier is above {OUTLIER:g} times the root mean square of the window's input. Weights and head stay in "
        "float.",
    )
    return Findings(COLUMNS, tuple(rows), notes)


class Count:
    """The number of entries that were read, and of those that stayed in float."""

    def __init__(self) -> None:
        self.entries = self.kept = 0


class QuantizedOps(TorchOps):
    """TorchOps in which the layers' matrices read inputs quantized to 8 bits."""

    def __init__(
        self, spec: DecoderSpec, weights: Weights, ids: np.ndarray, per_token: bool, keep: Keep, count: Count
    ) -> None:
        super().__init__(spec, weights, ids)
        self._per_token, self._keep, self._count = per_token, keep, count

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        if TensorName.parse(name).layer is not None:
            kept = self._keep(x, name)
            self._count.entries += kept.numel()
            self._count.kept += int(kept.sum())
            x = torch.where(kept, x, fake_quantize(x.masked_fill(kept, 0), self._per_token))
        return super().linear(x, name)


def fake_quantize(x: torch.Tensor, per_token: bool) -> torch.Tensor:
    """The input (windows, tokens, channels) quantized to 255 levels, symmetric about 0, and dequantized again. There is
    a scale for each window or for each token."""
    scale = x.abs().amax(-1 if per_token else (1, 2), keepdim=True) / LEVELS
    return torch.round(x / scale.clamp_min(torch.finfo(x.dtype).tiny)) * scale


def nothing(x: torch.Tensor, name: str) -> torch.Tensor:
    """Keeps no entry in float."""
    return torch.zeros_like(x, dtype=torch.bool)


def outliers(x: torch.Tensor, name: str) -> torch.Tensor:
    """Keeps entries larger than OUTLIER times the root mean square of their window."""
    return x.abs() > OUTLIER * x.square().mean((1, 2), keepdim=True).sqrt()


def super_activation_columns(
    super_weights: Iterable[Coordinates], activations: Iterable[SuperActivation], layers: int
) -> dict[str, tuple[int, ...]]:
    """The columns whose inputs are super activations, by matrix name: the super activations' channels in the matrices
    that read the residual stream while they last, and the super weights' columns in their own matrices."""
    found: dict[str, tuple[int, ...]] = columns_of(super_weights)
    for activation in activations:
        # It exists after `first_layer`, so the next layer is the first to read it.
        for layer in range(activation.first_layer + 1, min(activation.last_layer + 2, layers)):
            own = {str(TensorName(layer, kind)): (activation.channel,) for kind in READERS}
            found = joined(found, own)
    return found


class SuperActivationChannels:
    """Keeps the channels of super activations: see `super_activation_columns`."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._by_name = super_activation_columns(
            evaluation.coordinates, evaluation.super_activations, evaluation.spec.layers
        )

    def __call__(self, x: torch.Tensor, name: str) -> torch.Tensor:
        kept = nothing(x, name)
        kept[..., list(self._by_name.get(name, ()))] = True
        return kept


def _make(per_token: bool, keep: Keep, count: Count) -> Callable[[DecoderSpec, Weights, np.ndarray], TorchOps]:
    return lambda spec, weights, ids: QuantizedOps(spec, weights, ids, per_token, keep, count)
