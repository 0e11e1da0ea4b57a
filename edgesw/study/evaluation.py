"""Evaluation: the decoder runs under changed conditions over the same windows, each compared with the float model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from edgesw.decoder.decoder import decoder_head
from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.decoder.weights import CachedWeights
from edgesw.outliers.results import SuperOutliers
from edgesw.progress import Progress
from edgesw.recipes.coordinates import Coordinates
from edgesw.runtime.torch import TorchOps, residual_stream

MakeOps = Callable[[DecoderSpec, Weights, np.ndarray], TorchOps]


@dataclass(frozen=True)
class Condition:
    """One way to run the decoder. Whatever is not given is as in the float model."""

    name: str
    weights: Weights | None = None
    first: int = 0
    """The first layer that differs from the float model: the layers before it are not run again."""
    ops: MakeOps = TorchOps
    after: Callable[[int, torch.Tensor], None] | None = None
    """`after(layer, x)` may change the residual stream x (windows, tokens, hidden) in place."""


@dataclass(frozen=True)
class Measured:
    """The quality under a condition, over all predicted positions."""

    perplexity: float
    accuracy: float  # share of positions at which the most likely token is the text's next one
    agreement: float  # share of positions with the float model's most likely token


class Evaluation:
    """Windows of ids (windows, tokens), the float model's residual stream over them, and its super outliers.

    Holds the stream at three places (after the embedding, before the first super weight's layer, at the end) and the
    output head. The model must have a super weight.
    """

    def __init__(
        self,
        spec: DecoderSpec,
        weights: Weights,
        ids: np.ndarray,
        outliers: SuperOutliers,
        progress: Progress = lambda *_: None,
    ) -> None:
        self.spec, self.ids, self.progress = spec, ids, progress
        self.weights = CachedWeights(weights, ("lm_head",))  # for every window of every condition
        self.super_weights, self.super_activations = outliers.super_weights, outliers.super_activations
        self.coordinates: list[Coordinates] = [weight.coordinates for weight in outliers.super_weights]
        self.first = min(layer for layer, _, _ in self.coordinates)
        """The first layer that holds a super weight."""
        self._before: dict[int, torch.Tensor] = {}
        made = {(layer, row) for layer, row, _ in self.coordinates}
        self.channels: dict[tuple[int, int], torch.Tensor] = {}
        """The channel that a super weight writes to, after its layer: float (windows, tokens), by (layer, row)."""
        for layer, x in enumerate(residual_stream(TorchOps(spec, self.weights, ids))):
            progress("Float model", f"layer {layer}", layer, spec.layers)
            if layer in (0, self.first, spec.layers):
                self._before[layer] = x
            for at, row in made:
                if at == layer - 1:
                    self.channels[at, row] = x[..., row].clone()
        self.float = Condition("no change", first=spec.layers)
        self._top = [logits[:-1].argmax(-1) for logits in self.logits(self.float)]

    @property
    def positions(self) -> int:
        """The number of predicted tokens: all but the first of each window."""
        return int(self.ids.size - len(self.ids))

    def logits(self, condition: Condition, progress: Callable[[int], None] | None = None) -> Iterator[torch.Tensor]:
        """The logits of one window after the other, float32 (tokens, vocabulary). Calls `progress(layer)` after each
        layer."""
        weights = self.weights if condition.weights is None else condition.weights
        ops = condition.ops(self.spec, weights, self.ids)
        start = max(layer for layer in self._before if layer <= condition.first)
        hidden = self._before[start]
        for layer, x in enumerate(residual_stream(ops, start, hidden), start=start - 1):
            # The loop holds the very tensor that the next layer reads, so that a change in place reaches it.
            if condition.after and layer >= start:
                with torch.inference_mode():
                    condition.after(layer, x)
            if progress:
                progress(layer + 1)
            hidden = x
        for window in hidden:
            with torch.inference_mode():  # not around the yield: the caller would run in this mode too
                logits = decoder_head(ops, window)
            yield logits

    def measure(self, condition: Condition, progress: Callable[[int], None] | None = None) -> Measured:
        """Runs the condition over all windows."""
        loss, right, same = 0.0, 0, 0
        for window, float_top, logits in zip(self.ids, self._top, self.logits(condition, progress), strict=True):
            following = torch.from_numpy(window[1:])
            chosen = torch.log_softmax(logits[:-1], -1)[torch.arange(len(following)), following]
            loss -= float(chosen.double().sum())
            top = logits[:-1].argmax(-1)
            right += int((top == following).sum())
            same += int((top == float_top).sum())
        # A tensor's exp gives infinity where math.exp raises.
        perplexity = float(torch.tensor(loss / self.positions, dtype=torch.float64).exp())
        return Measured(perplexity, right / self.positions, same / self.positions)

    def measure_all(self, stage: str, conditions: list[Condition]) -> list[Measured]:
        """Measures one condition after the other. The progress of `stage` counts the layers of all of them."""
        total = len(conditions) * self.spec.layers
        results = []
        for index, condition in enumerate(conditions):

            def on_layer(layer: int, index: int = index, name: str = condition.name) -> None:
                self.progress(stage, f"{name}, layer {layer}", index * self.spec.layers + layer, total)

            results.append(self.measure(condition, on_layer))
        return results
