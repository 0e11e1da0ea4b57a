"""Finds super weights and super activations in streamed forward passes over one short prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from edgesw.checkpoint.spec import DecoderSpec
from edgesw.decoder.ops import Weights
from edgesw.outliers.found import SuperActivation, SuperOutliers, SuperWeight
from edgesw.runtime.torch import TorchOps, residual_stream

# The paper's own prompt (arXiv 2411.07191).
PROMPT = "Apple Inc. is a worldwide tech company."

# A hidden state is massive above 100 and above 1,000 times the median magnitude of its layer (arXiv 2402.17762).
MASSIVE, MASSIVE_RATIO = 100.0, 1000.0
# A layer makes a super activation when its down_proj gives at least this share of it, ...
MADE_SHARE = 0.5
# ... it keeps at least this share of its size in the layers that follow, and ...
KEPT_SHARE = 0.5
# ... one scalar brings at least this share of the down_proj output. Below that there is no scalar to hold out.
SCALAR_SHARE = 0.1
MOST_SUPER_WEIGHTS = 32


@dataclass(frozen=True)
class _Spike:
    """The largest output of one down_proj, and the scalar that contributes most to it."""

    token: int
    row: int
    output: float
    column: int
    input: float
    weight: float

    @property
    def share(self) -> float:
        return abs(self.input * self.weight / self.output)


def detect(
    spec: DecoderSpec, weights: Weights, ids: np.ndarray, progress: Callable[[str, int], None] | None = None
) -> SuperOutliers:
    """Super outliers that the prompt `ids`, int (tokens,), brings out. Weights are streamed: one at a time in memory.

    A super weight is the scalar of `down_proj` with the largest contribution |x[column] * W[row, column]| to a super
    activation that its layer makes and later layers keep. It is removed and the pass is repeated from its layer, until
    no super activation is made. `progress(stage, layer)` is called after each layer.
    """
    run = _Run(spec, weights, ids, progress)
    run.forward(0)
    activations = _super_activations(run.stream)
    found: list[SuperWeight] = []
    while len(found) < MOST_SUPER_WEIGHTS:
        layer = _made_in(run)
        if layer is None:
            break
        spike = run.spikes[layer]
        found.append(SuperWeight(layer, spike.row, spike.column, spike.weight, spike.input, spike.output))
        run.removed.add((layer, spike.row, spike.column))
        run.forward(layer)
    return SuperOutliers(tuple(found), tuple(_tie(activation, found) for activation in activations))


class _Run:
    """A prompt's residual stream before each layer and after the last, and each layer's spike."""

    def __init__(
        self, spec: DecoderSpec, weights: Weights, ids: np.ndarray, progress: Callable[[str, int], None] | None
    ) -> None:
        self.spec, self._weights, self._progress = spec, weights, progress
        self._ids = ids.reshape(1, -1)
        self.stream: list[torch.Tensor] = []  # (tokens, hidden) each
        self.spikes: dict[int, _Spike] = {}
        self.removed: set[tuple[int, int, int]] = set()

    def forward(self, first: int) -> None:
        """Run from layer `first` on, without the removed scalars."""
        ops = TorchOps(self.spec, self, self._ids, self._observe)
        start = self.stream[first][None] if first else None
        del self.stream[first:]
        for layer, x in enumerate(residual_stream(ops, first, start), start=first):
            self.stream.append(x[0])
            if self._progress:
                self._progress(f"pass {len(self.removed) + 1}", layer)

    def tensor(self, name: str) -> np.ndarray:
        values = self._weights.tensor(name)
        for layer, row, column in self.removed:
            if name == f"layers.{layer}.down_proj":
                values[row, column] = 0
        return values

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self._weights.rows(name, rows)

    def _observe(self, name: str, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> None:
        _, layer, *kind = name.split(".")
        if kind != ["down_proj"]:
            return
        token, row = divmod(int(y[0].abs().argmax()), y.shape[-1])
        column = int((x[0, token] * weight[row]).abs().argmax())
        self.spikes[int(layer)] = _Spike(
            token, row, float(y[0, token, row]), column, float(x[0, token, column]), float(weight[row, column])
        )


def _made_in(run: _Run) -> int | None:
    """The first layer whose down_proj makes a super activation out of one scalar, or None."""
    lasts = run.spec.layers // 8 + 1
    for layer, spike in sorted(run.spikes.items()):
        if layer + lasts > run.spec.layers or spike.share < SCALAR_SHARE:
            continue
        made = float(run.stream[layer + 1][spike.token, spike.row])
        later = [abs(float(x[spike.token, spike.row])) for x in run.stream[layer + 1 : layer + 1 + lasts]]
        if (
            abs(made) > _massive(run.stream[layer + 1])
            and abs(spike.output) >= MADE_SHARE * abs(made)
            and min(later) >= KEPT_SHARE * abs(made)
        ):
            return layer
    return None


def _massive(x: torch.Tensor) -> float:
    return max(MASSIVE, MASSIVE_RATIO * float(x.abs().median()))


def _super_activations(stream: list[torch.Tensor]) -> list[SuperActivation]:
    """Channels of the residual stream that are massive, by first layer: `layer` is the one after which they are."""
    found: dict[int, SuperActivation] = {}
    for layer, x in enumerate(stream[1:]):
        for token, channel in (x.abs() > _massive(x)).nonzero().tolist():
            magnitude = abs(float(x[token, channel]))
            old = found.setdefault(channel, SuperActivation(channel, (), 0.0, layer, layer, False))
            tokens = tuple(sorted({*old.tokens, token}))
            found[channel] = replace(old, tokens=tokens, magnitude=max(old.magnitude, magnitude), last_layer=layer)
    return list(found.values())


def _tie(activation: SuperActivation, weights: list[SuperWeight]) -> SuperActivation:
    tied = any(w.row == activation.channel and w.layer == activation.first_layer for w in weights)
    return replace(activation, from_super_weight=tied)
