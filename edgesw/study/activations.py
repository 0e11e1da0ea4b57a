"""Activations: 8 bits for each input of a matrix, with and without the super activation (arXiv 2411.07191, 5.1)."""

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

TITLE = "activations rounded to 8 bits"
LEVELS = 127  # symmetric: integers from -127 to 127
# An entry spikes above this many times the root mean square of its window's whole input.
SPIKE = 30.0
COLUMNS = (
    Column("condition", "condition"),
    Column("aside", "kept in float", ".4%"),
    PERPLEXITY,
    INCREASE,
    ACCURACY,
    AGREEMENT,
)
# The matrices that read the residual stream.
READERS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")

Aside = Callable[[torch.Tensor, str], torch.Tensor]
"""Bool, True for each entry of a matrix's input that stays in float: (input, name of the matrix)."""


def run(evaluation: Evaluation) -> Findings:
    """Inputs of the layers' matrices in 8 bits, one scale for a window: all, without the super activation's channels,
    without whatever spikes; and one scale for each token."""
    plans: list[tuple[str, bool, Aside]] = [
        ("one scale a window", False, nothing),
        ("the same, super activation kept in float", False, Channels(evaluation)),
        ("the same, every spike kept in float", False, spikes),
        ("one scale a token", True, nothing),
    ]
    counts = [Count() for _ in plans]
    conditions = [
        Condition(name, ops=_make(per_token, aside, count))
        for (name, per_token, aside), count in zip(plans, counts, strict=True)
    ]
    results = evaluation.measure_all("activations", conditions)
    unchanged = evaluation.measure(evaluation.float)
    rows = [{"condition": "float", **vars(unchanged), "increase": 0.0}] + [
        {
            "condition": condition.name,
            "aside": count.aside / count.entries,
            **vars(result),
            "increase": result.perplexity / unchanged.perplexity - 1,
        }
        for condition, count, result in zip(conditions, counts, results, strict=True)
    ]
    notes = (
        "A scale is the largest magnitude of what is rounded, over 127, taken anew for each input (dynamic).",
        f"A spike is above {SPIKE:g} times the root mean square of the window's input. Weights and head stay in float.",
    )
    return Findings(COLUMNS, tuple(rows), notes)


class Count:
    """How many entries were seen, and how many of them stayed in float."""

    def __init__(self) -> None:
        self.entries = self.aside = 0


class RoundedOps(TorchOps):
    """TorchOps whose layers' matrices read inputs rounded to 8 bits."""

    def __init__(
        self, spec: DecoderSpec, weights: Weights, ids: np.ndarray, per_token: bool, aside: Aside, count: Count
    ) -> None:
        super().__init__(spec, weights, ids)
        self._per_token, self._aside, self._count = per_token, aside, count

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        if TensorName.parse(name).layer is not None:
            kept = self._aside(x, name)
            self._count.entries += kept.numel()
            self._count.aside += int(kept.sum())
            x = torch.where(kept, x, round_activations(x.masked_fill(kept, 0), self._per_token))
        return super().linear(x, name)


def round_activations(x: torch.Tensor, per_token: bool) -> torch.Tensor:
    """(windows, tokens, channels) to 255 levels, symmetric about 0, with a scale for each window or each token."""
    scale = x.abs().amax(-1 if per_token else (1, 2), keepdim=True) / LEVELS
    return torch.round(x / scale.clamp_min(torch.finfo(x.dtype).tiny)) * scale


def nothing(x: torch.Tensor, name: str) -> torch.Tensor:
    """All is rounded."""
    return torch.zeros_like(x, dtype=torch.bool)


def spikes(x: torch.Tensor, name: str) -> torch.Tensor:
    """Entries beyond SPIKE times the root mean square of their window."""
    return x.abs() > SPIKE * x.square().mean((1, 2), keepdim=True).sqrt()


def super_activation_columns(
    super_weights: Iterable[Coordinates], activations: Iterable[SuperActivation], layers: int
) -> dict[str, tuple[int, ...]]:
    """By matrix name, the columns whose inputs are super activations: their channels in what reads the residual stream
    while they last, and the super weights' columns in their own matrices."""
    found: dict[str, tuple[int, ...]] = columns_of(super_weights)
    for activation in activations:
        # It is there after `first_layer`, so the next layer is the first to read it.
        for layer in range(activation.first_layer + 1, min(activation.last_layer + 2, layers)):
            own = {str(TensorName(layer, kind)): (activation.channel,) for kind in READERS}
            found = joined(found, own)
    return found


class Channels:
    """The channels that detection names: a super activation's where matrices read the residual stream while it lasts,
    and in the super weights' own matrices their columns."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._by_name = super_activation_columns(
            evaluation.coordinates, evaluation.super_activations, evaluation.spec.layers
        )

    def __call__(self, x: torch.Tensor, name: str) -> torch.Tensor:
        kept = nothing(x, name)
        kept[..., list(self._by_name.get(name, ()))] = True
        return kept


def _make(per_token: bool, aside: Aside, count: Count) -> Callable[[DecoderSpec, Weights, np.ndarray], TorchOps]:
    return lambda spec, weights, ids: RoundedOps(spec, weights, ids, per_token, aside, count)
