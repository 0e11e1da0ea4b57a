"""Weights and activations in 8 bits: plainly, as the paper does it, smoothed, and with spiking channels held out.

python benchmarks/activations.py [--text FILE] [--windows 8] [--model smollm2-135m] [--packages]
"""

from __future__ import annotations

Extremes = dict

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from bench import TOKENS
from numerics import Mixed
from printing import say, table, versions

from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.checkpoint.spec import DecoderSpec
from edgesw.decoder.decoder import decoder_head
from edgesw.errors import EdgeswError
from edgesw.held_out import find_held_out
from edgesw.outliers.calibrate import Calibration, calibrate
from edgesw.outliers.found import SuperOutliers
from edgesw.runtime.torch import FloatLogits, TorchOps, residual_stream
from edgesw.texts import load_text, shipped_text, windows
from edgesw.tokenizer import Tokenizer
from edgesw.validate.measure import measure

COLUMNS = ("weights 8 bits a row, activations", "range", "perplexity", "over float", "loss", "won back", "KL, nats")
RANGES = ("tensor", "static", "token")
READERS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")


@dataclass(frozen=True)
class Way:
    """How the input of each of the layers' matrices is rounded. Columns and factors are by matrix name."""

    title: str
    ranges: str
    held_out: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Columns that stay in float, with their weights."""
    restored: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Columns whose largest entry is the median while the others are rounded, and itself again after."""
    smoothed: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Float32 (columns,) that inputs are divided and weights multiplied by."""


class RoundedOps(TorchOps):
    """Computes what a runtime would that rounds inputs to 256 levels between their least and their largest value, zero
    among them, and weights to 255 levels about zero, a scale for each row."""

    def __init__(self, spec: DecoderSpec, weights: Mixed, ids: np.ndarray, way: Way, extremes: Extremes) -> None:
        super().__init__(spec, weights, ids)
        self._way, self._extremes = way, extremes

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        if not name.startswith("layers."):
            return super().linear(x, name)
        way, weight = self._way, self._tensor(name)
        apart = list(way.held_out.get(name, ()))
        y = F.linear(x[..., apart], weight[:, apart], self.bias(name))
        x = x.index_fill(-1, torch.tensor(apart, dtype=torch.long), 0)
        weight = weight.index_fill(-1, torch.tensor(apart, dtype=torch.long), 0)
        low, high = (torch.from_numpy(each.copy()) for each in self._extremes[name])
        if name in way.smoothed:
            factor = torch.from_numpy(way.smoothed[name])
            x, weight, low, high = x / factor, weight * factor, low / factor, high / factor
        low[apart], high[apart] = 0, 0
        return y + F.linear(self._rounded(x, name, (low.min(), high.max())), round_rows(weight))

    def _rounded(self, x: torch.Tensor, name: str, static: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
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
        axes = (-1,) if self._way.ranges == "token" else (1, 2)
        low, high = static if self._way.ranges == "static" else (x.amin(axes, True), x.amax(axes, True))
        low, high = low.clamp_max(0), high.clamp_min(0)
        step = ((high - low) / 255).clamp_min(1e-20)
        zero = torch.round(-low / step)
        return ((torch.round(x / step) + zero).clamp(0, 255) - zero) * step


def round_rows(weight: torch.Tensor) -> torch.Tensor:
    """(rows, columns) to 255 levels about zero."""
    step = (weight.abs().amax(1, keepdim=True) / 127).clamp_min(1e-20)
    return torch.round(weight / step) * step


Extremes = Mapping[str, np.ndarray]


def super_activations(outliers: SuperOutliers, spec: DecoderSpec) -> dict[str, tuple[int, ...]]:
    """Where the paper's super activations are inputs: their channels in what reads the residual stream after the super
    weight's layer, and the super weights' columns in their own matrices."""
    found: dict[str, set[int]] = {}
    for weight in outliers.super_weights:
        found.setdefault(f"layers.{weight.layer}.down_proj", set()).add(weight.column)
    for activation in outliers.super_activations:
        for layer in range(activation.first_layer + 1, min(activation.last_layer + 2, spec.layers)):
            for kind in READERS:
                found.setdefault(f"layers.{layer}.{kind}", set()).add(activation.channel)
    return {name: tuple(sorted(columns)) for name, columns in found.items()}


def smoothing(checkpoint: Checkpoint, extremes: Extremes, power: float) -> dict[str, np.ndarray]:
    """SmoothQuant's factors (arXiv 2211.10438, equation 4): largest input to the `power`, over largest weight to the
    rest; of matrices with one input, the largest weight of all."""
    factors = {}
    for layer in range(checkpoint.spec.layers):
        for kinds in (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",)):
            names = [f"layers.{layer}.{kind}" for kind in kinds]
            weights = np.maximum.reduce([np.abs(checkpoint.tensor(name)).max(0) for name in names])
            inputs = np.abs(extremes[names[0]]).max(0)
            both = np.maximum(inputs, 1e-5) ** power / np.maximum(weights, 1e-5) ** (1 - power)
            factors |= dict.fromkeys(names, both.astype(np.float32))
    return factors


class Computed:
    """A `PackagedDecoder` of windows that were all run before."""

    runtime, context = "numerics only", TOKENS

    def __init__(self, ops: TorchOps) -> None:
        for x in residual_stream(ops):
            last = x
        self._windows = iter(last)
        self._ops = ops

    def reset(self) -> None:
        """Nothing to forget."""

    def step(self, ids: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return decoder_head(self._ops, next(self._windows)).float().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--text", help="UTF-8 file, or wikitext2 (default: the validation text that ships)")
    parser.add_argument("--windows", type=int, default=8, help="windows of 512 tokens (default: 8)")
    parser.add_argument("--model", default="smollm2-135m", help="what edgesw convert takes (default: smollm2-135m)")
    given = parser.parse_args()
    try:
        run(given.model, given.text, given.windows)
    except EdgeswError as error:
        sys.exit(f"Error: {error}")


def ways(
    checkpoint: Checkpoint, calibration: Calibration, outliers: SuperOutliers, held_out: Mapping[str, tuple[int, ...]]
) -> Iterator[Way]:
    named = super_activations(outliers, checkpoint.spec)
    yield Way("float", "none")
    for ranges in RANGES:
        yield Way("nothing done", ranges)
        yield Way("the paper's: replaced by the median, restored", ranges, restored=named)
        for power in (0.5, 0.8):
            yield Way(f"smoothed, {power:g}", ranges, smoothed=smoothing(checkpoint, calibration.extremes, power))
        yield Way("super activations' channels held out", ranges, held_out=named)
        yield Way("ours: spiking columns held out", ranges, held_out=held_out)


def run(model: str, text: str | None, count: int) -> None:
    """Measure and print."""
    from edgesw.outliers.find import find_outliers

    checkpoint = open_checkpoint(model)
    spec, tokenizer = checkpoint.spec, Tokenizer.from_files(checkpoint.tokenizer_files(), model)
    loaded = load_text(text)
    ids = windows(loaded, tokenizer, count, min(TOKENS, spec.max_positions))
    quiet = lambda *_: None
    say("finding super weights")
    outliers = find_outliers(checkpoint, tokenizer, quiet)
    held = find_held_out(checkpoint, tokenizer, quiet)
    calibration = calibrate(checkpoint, tokenizer, shipped_text("calibration"), quiet)
    held_out = held.with_columns(calibration.mean_squares).columns
    say(f"{sum(map(len, held_out.values()))} columns")
    kept = {"embed_tokens": checkpoint.tensor("embed_tokens"), "lm_head": checkpoint.tensor("lm_head")}
    weights = Mixed(checkpoint, frozenset(), checkpoint.tensor, kept)
    reference = list(FloatLogits(spec, weights, ids))
    for way in ways(checkpoint, calibration, outliers, held_out):
        decoder = Computed(RoundedOps(spec, weights, ids, way, calibration.extremes))
        *_, (result,) = measure(ids, reference, [decoder])
        say(
            f"{way.title:50} {way.ranges:7} {result.perplexity:12,.2f} {result.float_perplexity:.2f} {result.kl_divergence:.4f}"
        )


if __name__ == "__main__":
    main()
