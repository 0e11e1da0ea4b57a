"""TorchOps: runs the decoder in float32, one matrix at a time. The float reference, and the pass that detects."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F

from edgesw.checkpoint.spec import DecoderSpec
from edgesw.decoder.decoder import decoder_head, decoder_layer
from edgesw.decoder.ops import Weights
from edgesw.decoder.rotary import rotary_tables

Observer = Callable[[str, torch.Tensor, torch.Tensor, torch.Tensor], None]


class TorchOps:
    """`Ops` on torch tensors for token ids (batch, tokens). Weights are read when used and dropped after.

    `observe(name, x, weight, y)` is called after each linear of a layer, with its input, weight and output.
    """

    def __init__(self, spec: DecoderSpec, weights: Weights, ids: np.ndarray, observe: Observer | None = None) -> None:
        self.spec, self.weights, self.ids, self.observe = spec, weights, ids, observe
        cos, sin = (torch.from_numpy(table) for table in rotary_tables(spec, ids.shape[1]))
        self.cos, self.sin = torch.cat([cos, cos], -1), torch.cat([sin, sin], -1)

    def embedding(self, name: str) -> torch.Tensor:
        distinct, index = np.unique(self.ids, return_inverse=True)
        return torch.from_numpy(self.weights.rows(name, distinct)[index.reshape(self.ids.shape)])

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        mean_square = x.pow(2).mean(-1, keepdim=True)
        return x * torch.rsqrt(mean_square + self.spec.norm_eps) * torch.from_numpy(self.weights.tensor(name))

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight = torch.from_numpy(self.weights.tensor(name))
        y = F.linear(x, weight)
        if self.observe is not None:
            self.observe(name, x, weight, y)
        return y

    def attention(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        query, key, value = (self._heads(x) for x in (query, key, value))
        out = F.scaled_dot_product_attention(
            self._rotate(query), self._rotate(key), value, is_causal=True, enable_gqa=True
        )
        return out.transpose(1, 2).flatten(2)

    def gated(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return F.silu(gate) * up

    def add(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a + b

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (-1, self.spec.head_dim)).transpose(1, 2)

    def _rotate(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, -1)
        return x * self.cos + torch.cat([-second, first], -1) * self.sin


def residual_stream(ops: TorchOps, first: int = 0, x: torch.Tensor | None = None) -> Iterator[torch.Tensor]:
    """The residual stream (batch, tokens, hidden): `x` before layer `first` (default: embedding), then after each."""
    with torch.inference_mode():
        x = ops.embedding("embed_tokens") if x is None else x
        yield x
        for layer in range(first, ops.spec.layers):
            x = decoder_layer(ops, layer, x)
            yield x


class FloatLogits:
    """Logits of windows of token ids (batch, tokens): one streamed pass for all, then the head window by window."""

    def __init__(
        self, spec: DecoderSpec, weights: Weights, ids: np.ndarray, progress: Callable[[int], None] | None = None
    ) -> None:
        self._ops = TorchOps(spec, weights, ids)
        for layer, x in enumerate(residual_stream(self._ops)):  # noqa: B007 - the last one is what counts
            if progress:
                progress(layer)
        self._hidden = x
        # Read once: the head is used for every window.
        self._ops.weights = _Kept(weights, ("norm", "lm_head"))

    def __iter__(self) -> Iterator[np.ndarray]:
        """Float32 (tokens, vocabulary), one window after the other."""
        with torch.inference_mode():
            for window in self._hidden:
                yield decoder_head(self._ops, window).numpy()


class _Kept:
    """Weights that keep a few tensors in memory."""

    def __init__(self, weights: Weights, names: tuple[str, ...]) -> None:
        self._kept = {name: weights.tensor(name) for name in names}

    def tensor(self, name: str) -> np.ndarray:
        return self._kept[name]

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self._kept[name][rows]
