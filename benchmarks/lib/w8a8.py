"""Quantized W8A8, simulated in torch: 8-bit weights and inputs of the layers' matrices, in each way of the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.lib.numerics import Mixed
from edgesw.calibration.calibrate import Calibration
from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.decoder.decoder import decoder_head
from edgesw.decoder.names import TensorName
from edgesw.decoder.spec import DecoderSpec
from edgesw.outliers.results import SuperOutliers
from edgesw.runtime.torch import TorchOps, residual_stream
from edgesw.study.activations import super_activation_columns

Columns = Mapping[str, tuple[int, ...]]
Extremes = Mapping[str, np.ndarray]
"""Least and largest input of each column, float32 (2, columns) by matrix name."""
RANGES = ("per-tensor", "static", "per-token")
FLOAT, NAIVE = "float activations", "plain"


@dataclass(frozen=True)
class Way:
    """How the inputs of the layers' matrices are quantized. Columns and factors are by matrix name."""

    title: str
    ranges: str
    held_out: Columns = field(default_factory=dict)
    """Columns that stay in float, with their weights."""
    restored: Columns = field(default_factory=dict)
    """Columns whose largest entry is replaced by the median before quantization, and restored after it."""
    smoothed: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Float32 (columns,) that inputs are divided and weights multiplied by."""


class W8A8Ops(TorchOps):
    """Computes what a W8A8 runtime would: inputs take 256 levels between their least and largest value, zero among
    them, and weights 255 levels around zero, with a scale for each row."""

    def __init__(self, spec: DecoderSpec, weights: Mixed, ids: np.ndarray, way: Way, extremes: Extremes) -> None:
        super().__init__(spec, weights, ids)
        self._way, self._extremes = way, extremes

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        if TensorName.parse(name).layer is None:
            return super().linear(x, name)
        way, weight = self._way, self._tensor(name)
        held_out = list(way.held_out.get(name, ()))
        y = F.linear(x[..., held_out], weight[:, held_out], self.bias(name))
        x = x.index_fill(-1, torch.tensor(held_out, dtype=torch.long), 0)
        weight = weight.index_fill(-1, torch.tensor(held_out, dtype=torch.long), 0)
        low, high = (torch.from_numpy(each.copy()) for each in self._extremes[name])
        if name in way.smoothed:
            factor = torch.from_numpy(way.smoothed[name])
            x, weight, low, high = x / factor, weight * factor, low / factor, high / factor
        low[held_out], high[held_out] = 0, 0
        return y + F.linear(self._quantized(x, name, (low.min(), high.max())), quantize_rows(weight))

    def _quantized(self, x: torch.Tensor, name: str, static: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        if name in self._way.restored:
            columns = torch.tensor(self._way.restored[name])
            spikes = torch.zeros_like(x, dtype=torch.bool)
            for window, found in zip(x, spikes, strict=True):
                token, at = divmod(int(window[:, columns].abs().argmax()), len(columns))
                found[token, columns[at]] = True
            median = x.flatten(1).median(1).values[:, None, None]
            return torch.where(spikes, x, self._within(torch.where(spikes, median, x), static))
        return self._within(x, static)

    def _within(self, x: torch.Tensor, static: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        if self._way.ranges == "none":
            return x
        axes = (-1,) if self._way.ranges == "per-token" else (1, 2)
        low, high = static if self._way.ranges == "static" else (x.amin(axes, True), x.amax(axes, True))
        low, high = low.clamp_max(0), high.clamp_min(0)
        step = ((high - low) / 255).clamp_min(1e-20)
        zero = torch.round(-low / step)
        return ((torch.round(x / step) + zero).clamp(0, 255) - zero) * step


def quantize_rows(weight: torch.Tensor) -> torch.Tensor:
    """Weights (rows, columns) with 255 levels around zero in each row."""
    step = (weight.abs().amax(1, keepdim=True) / 127).clamp_min(1e-20)
    return torch.round(weight / step) * step


def smoothing(checkpoint: Checkpoint, extremes: Extremes, power: float) -> dict[str, np.ndarray]:
    """SmoothQuant's factors (arXiv 2211.10438, equation 4): the largest input to `power`, over the largest weight to
    1 - `power`. Matrices that read one input share the largest weight."""
    factors: dict[str, np.ndarray] = {}
    for layer in range(checkpoint.spec.layers):
        for kinds in (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",)):
            names = [str(TensorName(layer, kind)) for kind in kinds]
            weights = np.maximum.reduce([np.abs(checkpoint.tensor(name)).max(0) for name in names])
            inputs = np.abs(extremes[names[0]]).max(0)
            both = np.maximum(inputs, 1e-5) ** power / np.maximum(weights, 1e-5) ** (1 - power)
            factors |= dict.fromkeys(names, both.astype(np.float32))
    return factors


def logits(ops: TorchOps) -> Iterator[np.ndarray]:
    """Logits of each window, float32 (tokens, vocabulary)."""
    for x in residual_stream(ops):
        last = x
    for window in last:
        with torch.inference_mode():
            values: np.ndarray = decoder_head(ops, window).float().numpy()
        yield values


def ways(
    checkpoint: Checkpoint, calibration: Calibration, outliers: SuperOutliers, spiking: Columns, shared: Columns
) -> Iterator[Way]:
    """The rows of the table. `spiking` and `shared`: the columns that `edgesw convert` holds out with per-token ranges,
    and with ranges that all tokens share."""
    weights = [weight.coordinates for weight in outliers.super_weights]
    named = super_activation_columns(weights, outliers.super_activations, checkpoint.spec.layers)
    yield Way(FLOAT, "none")
    for ranges in RANGES:
        yield Way(NAIVE, ranges)
        yield Way("super activation replaced by the median, then restored", ranges, restored=named)
        for power in (0.5, 0.8):
            factors = smoothing(checkpoint, calibration.extremes, power)
            yield Way(f"smoothed, power {power:g}", ranges, smoothed=factors)
        yield Way("columns of super activations held out", ranges, held_out=named)
        if ranges != "per-token":
            yield Way("outlier channels held out", ranges, held_out=spiking)
        yield Way("edgesw", ranges, held_out=spiking if ranges == "per-token" else shared)
