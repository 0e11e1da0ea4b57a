"""TorchOps: runs the decoder one matrix at a time. The float reference, and the pass that detection observes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from edgesw.decoder.decoder import decoder_head, decoder_layer
from edgesw.decoder.ops import Weights
from edgesw.decoder.rotary import rotary_tables
from edgesw.decoder.spec import DecoderSpec
from edgesw.decoder.weights import CachedWeights

Observer = Callable[[str, torch.Tensor, torch.Tensor, torch.Tensor], None]


class TorchOps:
    """`Ops` on torch tensors for token ids (batch, tokens). Weights are read when they are used, and dropped.

    `observe(name, x, weight, y)` is called after each linear, with its input, weight and output. The decoder computes
    in `dtype`; weights are read in float32 and rounded to it.
    """

    def __init__(
        self,
        spec: DecoderSpec,
        weights: Weights,
        ids: np.ndarray,
        observe: Observer | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.spec, self.weights, self.ids, self.observe, self.dtype = spec, weights, ids, observe, dtype
        tables = (rotary_tables(rotary, ids.shape[1]) for rotary in spec.rotaries)
        # Both halves of a head rotate by the same angles.
        self._rope_tables = [tuple(torch.from_numpy(np.tile(table, 2)).to(dtype) for table in pair) for pair in tables]
        self._masks: dict[int | None, torch.Tensor] = {}

    def embedding(self, name: str) -> torch.Tensor:
        distinct, index = np.unique(self.ids, return_inverse=True)
        x = torch.from_numpy(self.weights.rows(name, distinct)[index.reshape(self.ids.shape)]).to(self.dtype)
        return x * self.spec.embedding_scale if self.spec.embedding_scale != 1 else x

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        wide = x.float()  # like transformers: norms in float32, whatever the dtype
        if self.spec.norm == "layer":
            return F.layer_norm(wide, wide.shape[-1:], eps=self.spec.norm_eps).to(self.dtype)
        scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.spec.norm_eps)
        return (scaled * torch.from_numpy(self.weights.tensor(name))).to(self.dtype)

    def head_norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return self.norm(x.unflatten(-1, (-1, self.spec.head_dim)), name).flatten(-2)

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight = self._tensor(name)
        y = F.linear(x, weight, self.bias(name))
        if self.observe is not None:
            self.observe(name, x, weight, y)
        return y

    def bias(self, name: str) -> torch.Tensor | None:
        """The bias of a matrix, (rows,), or None."""
        return None if self.spec.shape(f"{name}.bias") is None else self._tensor(f"{name}.bias")

    def linears(self, x: torch.Tensor, names: Sequence[str]) -> tuple[torch.Tensor, ...]:
        return tuple(self.linear(x, name) for name in names)

    def attention(self, layer: int, parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
        spec, rotary, window = self.spec, self.spec.layer_rotary[layer], self.spec.layer_windows[layer]
        query, key, value = (self._split_heads(x) for x in parts)
        if rotary is not None:
            query, key = self._rotate(query, rotary), self._rotate(key, rotary)
        tokens = self.ids.shape[1]
        if spec.attention_softcap is not None:
            out = self._capped(query, key, value, self._mask(window))
        else:
            unlimited = window is None or window >= tokens
            out = F.scaled_dot_product_attention(
                query, key, value, None if unlimited else self._mask(window),
                is_causal=unlimited, enable_gqa=True, scale=spec.score_scale,
            )  # fmt: skip
        return out.transpose(1, 2).flatten(2)

    def gated(self, parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
        gate, up = parts
        return (F.silu(gate) if self.spec.activation == "silu" else F.gelu(gate, approximate="tanh")) * up

    def add(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a + b

    def clip(self, x: torch.Tensor, bound: float) -> torch.Tensor:
        return x.clamp(-bound, bound)

    def softcap(self, x: torch.Tensor, cap: float) -> torch.Tensor:
        return cap * torch.tanh(x / cap)

    def _tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.weights.tensor(name)).to(self.dtype)

    def _split_heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (-1, self.spec.head_dim)).transpose(1, 2)

    def _rotate(self, x: torch.Tensor, rotary: int) -> torch.Tensor:
        cos, sin = self._rope_tables[rotary]
        first, second = x.chunk(2, -1)
        return x * cos + torch.cat([-second, first], -1) * sin

    def _mask(self, window: int | None) -> torch.Tensor:
        """The keys (columns) that a query (row) attends to: itself and the `window` - 1 before it, or all before it."""
        if window not in self._masks:
            back = torch.arange(self.ids.shape[1])[:, None] - torch.arange(self.ids.shape[1])
            self._masks[window] = (back >= 0) & (back < (window or self.ids.shape[1]))
        return self._masks[window]

    def _capped(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attention with soft-capped scores, which torch's own attention does not offer. It goes window by window: the
        scores of all windows would take more memory than everything else."""
        spec, each = self.spec, self.spec.heads // self.spec.kv_heads
        out = []
        for q, k, v in zip(query, key.repeat_interleave(each, 1), value.repeat_interleave(each, 1), strict=True):
            assert spec.attention_softcap is not None
            scores = self.softcap(q @ k.transpose(-1, -2) * spec.score_scale, spec.attention_softcap)
            out.append(scores.masked_fill(~mask, -torch.inf).float().softmax(-1).to(q.dtype) @ v)
        return torch.stack(out)


def residual_stream(ops: TorchOps, first: int = 0, x: torch.Tensor | None = None) -> Iterator[torch.Tensor]:
    """The residual stream (batch, tokens, hidden): `x` before layer `first` (None: the embedding), then the stream
    after each layer."""
    # Not one block around everything: the mode would be on in the caller's code, and stay on if two of these generators
    # end in the wrong order.
    if x is None:
        with torch.inference_mode():
            x = ops.embedding("embed_tokens")
    yield x
    for layer in range(first, ops.spec.layers):
        with torch.inference_mode():
            x = decoder_layer(ops, layer, x)
        yield x


class FloatLogits:
    """Logits of windows of token ids (batch, tokens): one streamed pass over all, then the head window by window."""

    def __init__(
        self,
        spec: DecoderSpec,
        weights: Weights,
        ids: np.ndarray,
        progress: Callable[[int], None] | None = None,
        hidden: torch.Tensor | None = None,
    ) -> None:
        """`hidden`: the result of an earlier pass, float32 (batch, tokens, hidden), which replaces this one's."""
        self._ops = TorchOps(spec, weights, ids)
        if hidden is None:
            for layer, hidden in enumerate(residual_stream(self._ops)):  # noqa: B007 - the last one is the result
                if progress:
                    progress(layer)
        assert hidden is not None
        self.hidden = hidden
        # Read once: the head is used for every window.
        self._ops.weights = CachedWeights(weights)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Float32 (tokens, vocabulary), one window after the other."""
        for window in self.hidden:
            with torch.inference_mode():
                logits = decoder_head(self._ops, window).float().numpy()
            yield logits
