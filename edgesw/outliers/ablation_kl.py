"""Ablation: the KL divergence from zeroing scalars of `down_proj`, for many sets of scalars in one streamed pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from edgesw.decoder.decoder import decoder_head
from edgesw.decoder.names import down_proj
from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.decoder.weights import places_of, scaled
from edgesw.recipes.coordinates import Coordinates
from edgesw.runtime.torch import TorchOps, residual_stream

Removal = frozenset[Coordinates]


class _Variants(TorchOps):
    """TorchOps on copies of one prompt, each without some scalars of `down_proj`.

    The copies share all reads except those of the matrices that differ.
    """

    def __init__(
        self,
        spec: DecoderSpec,
        weights: Weights,
        ids: np.ndarray,
        removals: Sequence[Removal],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        copies = np.repeat(ids.reshape(1, -1), len(removals), 0)
        super().__init__(spec, weights, copies, dtype=dtype)
        self._removals = removals
        self._changed = {down_proj(layer) for removal in removals for layer, _, _ in removal}

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        if name not in self._changed:
            return super().linear(x, name)
        copies: dict[Removal, list[int]] = {}
        for copy, removal in enumerate(self._removals):
            here = frozenset(scalar for scalar in removal if down_proj(scalar[0]) == name)
            copies.setdefault(here, []).append(copy)
        whole = self.weights
        y: dict[int, torch.Tensor] = {}
        for removal, chosen in copies.items():
            self.weights = scaled(whole, places_of(removal), 0)
            y.update(zip(chosen, super().linear(x[chosen], name), strict=True))
        self.weights = whole
        return torch.stack([y[copy] for copy in range(len(self._removals))])


class _HeadRows:
    """`Weights` whose head has only these rows."""

    def __init__(self, weights: Weights, rows: np.ndarray) -> None:
        self._weights, self._rows = weights, rows

    def tensor(self, name: str) -> np.ndarray:
        return self._weights.rows(name, self._rows) if name == "lm_head" else self._weights.tensor(name)

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self._weights.rows(name, rows)


def divergences(
    spec: DecoderSpec,
    weights: Weights,
    ids: np.ndarray,
    stream: Sequence[torch.Tensor],
    removals: Sequence[Removal],
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int], None] | None = None,
) -> dict[Removal, np.ndarray]:
    """KL divergence in nats of the float model's next-token distribution from that without the scalars, by removal.

    Float64 (tokens,), one value per position of the prompt `ids` (tokens,). `stream` is the float model's residual
    stream, (1, tokens, hidden) before each layer and after the last: the pass begins at the first layer that differs.
    """
    removals = list(dict.fromkeys(removals))
    ops = _Variants(spec, weights, ids, removals, dtype)
    first = min(layer for removal in removals for layer, _, _ in removal)
    x = stream[first].expand(len(removals), -1, -1)
    for layer, after in enumerate(residual_stream(ops, first, x), start=first):
        x = after
        if progress:
            progress(layer)
    return dict(zip(removals, _from_first(ops, torch.cat([stream[-1], x])), strict=True))


def _from_first(ops: TorchOps, hidden: torch.Tensor) -> np.ndarray:
    """KL divergence of the first copy's next-token distribution from each other's: float64 (copies - 1, tokens).

    The head is read in slices of the size of a layer's matrix, so that it is never in memory as a whole. With logits a,
    b: KL = sum(exp(a) (a - b)) / sum(exp(a)) - logsumexp(a) + logsumexp(b), where each sum runs over the slices.
    """
    copies, tokens, _ = hidden.shape
    whole, size = ops.weights, ops.spec.intermediate_size
    total = torch.full((copies, tokens), -torch.inf, dtype=torch.float64)  # logsumexp so far
    weighted = torch.zeros(copies, tokens, dtype=torch.float64)  # sum of exp(a) (a - b), over exp(total[0])
    with torch.inference_mode():
        for start in range(0, ops.spec.vocab_size, size):
            ops.weights = _HeadRows(whole, np.arange(start, min(start + size, ops.spec.vocab_size)))
            logits = decoder_head(ops, hidden).double()
            grown = torch.logaddexp(total, logits.logsumexp(-1))
            share = (logits[0] - grown[0][:, None]).exp()
            weighted = weighted * (total[0] - grown[0]).exp() + (share * (logits[0] - logits)).sum(-1)
            total = grown
    ops.weights = whole
    return (weighted - total[0] + total)[1:].clamp(min=0).numpy()
