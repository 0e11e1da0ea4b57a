"""Streams: windows of a text at one point of the decoder, computed batch by batch, so that many fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.runtime.torch import TorchOps

# Tokens in a batch: enough to keep the cores busy, few enough for small attention scores.
BATCH_TOKENS = 1024


class Stream:
    """Values (windows, tokens, channels) in batches of windows. A batch is computed each time it is read, from the
    streams that it depends on, unless the stream is cached."""

    def __init__(self, sizes: tuple[int, ...], make: Callable[[int], torch.Tensor]) -> None:
        """`sizes` are the windows of each batch."""
        self._sizes, self._make = sizes, make

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (self._make(batch) for batch in range(len(self._sizes)))

    def map(self, change: Callable[[int, torch.Tensor], torch.Tensor]) -> Stream:
        """The stream of change(batch, tensor)."""
        return Stream(self._sizes, lambda batch: change(batch, self._make(batch)))

    def combine(self, other: Stream, join: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Stream:
        """The stream of join(tensor, tensor of `other`)."""
        return Stream(self._sizes, lambda batch: join(self._make(batch), other._make(batch)))

    def cached(self, dtype: torch.dtype = torch.float32) -> Stream:
        """This stream, computed now and held in memory in `dtype`; what it depends on is released."""
        first = self._make(0)
        # One large block: many small ones would keep the memory freed between them, gigabytes in the end.
        parts = torch.empty((sum(self._sizes), *first.shape[1:]), dtype=dtype).split(self._sizes)
        parts[0].copy_(first)
        for batch in range(1, len(parts)):
            parts[batch].copy_(self._make(batch))
        return Stream(self._sizes, parts.__getitem__)


class StreamOps:
    """`Ops` on streams. The residual stream and the output of attention are cached; the rest, including the wide
    tensors of the MLP, is computed when it is used: memory does not grow with the width of the MLP times the text. The
    residual stream is float32, whatever the type of products."""

    def __init__(
        self, spec: DecoderSpec, weights: Weights, ids: np.ndarray, copies: int = 1, dtype: torch.dtype = torch.float32
    ) -> None:
        """`ids` are int64 (windows, tokens). A batch holds its windows `copies` times, one copy after the other.
        Products are computed in `dtype`."""
        self.spec, self.dtype = spec, dtype
        each = max(1, BATCH_TOKENS // ids.shape[1])
        batches = [np.tile(ids[first : first + each], (copies, 1)) for first in range(0, len(ids), each)]
        self._ops = [TorchOps(spec, weights, batch, dtype=dtype) for batch in batches]
        self._sizes = tuple(map(len, batches))

    def embedding(self, name: str) -> Stream:
        return Stream(self._sizes, lambda batch: self._ops[batch].embedding(name)).cached()

    def norm(self, x: Stream, name: str) -> Stream:
        return x.map(lambda batch, part: self._ops[batch].norm(part, name))

    def head_norm(self, x: Stream, name: str) -> Stream:
        return x.map(lambda batch, part: self._ops[batch].head_norm(part, name))

    def linear(self, x: Stream, name: str) -> Stream:
        return x.map(lambda batch, part: self._ops[batch].linear(part, name))

    def linears(self, x: Stream, names: Sequence[str]) -> tuple[Stream, ...]:
        return tuple(self.linear(x, name) for name in names)

    def attention(self, layer: int, parts: tuple[Stream, ...]) -> Stream:
        batches = zip(*parts, strict=True)  # each batch is used once, so it is not cached
        return Stream(self._sizes, lambda batch: self._ops[batch].attention(layer, next(batches))).cached()

    def gated(self, parts: tuple[Stream, ...]) -> Stream:
        gate, up = parts
        return gate.combine(up, lambda *each: self._ops[0].gated(each))

    def add(self, a: Stream, b: Stream) -> Stream:
        return a.combine(b, self._ops[0].add).cached()

    def clip(self, x: Stream, bound: float) -> Stream:
        return x.map(lambda _, part: part.clamp(-bound, bound))

    def softcap(self, x: Stream, cap: float) -> Stream:
        return x.map(lambda batch, part: self._ops[batch].softcap(part, cap))
