"""StreamedDecoder: each matrix compressed for the inputs that a text gives it, past the layers before as stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from edgesw.compress.compensate import Hessian
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import NO_HOLD_OUT, HoldOut
from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.plan import CompressionPlan
from edgesw.decoder.decoder import decoder_layer
from edgesw.decoder.names import TensorName
from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.runtime.streams import Stream, StreamOps


class StreamedDecoder(CompressedDecoder):
    """A `CompressedDecoder` whose matrices make up for their own errors.

    The windows of `ids` run through one layer when a matrix of it is first asked for, past the float matrices and past
    the compressed ones side by side: each matrix is compressed so that what it makes of the second comes near to what
    the float one makes of the first. In memory are one layer's matrices and three times both residual streams, float32
    (windows, tokens, hidden) each. In forward order each layer is run once; asking for a layer that has passed begins
    anew. Embedding and head are compressed by themselves.
    """

    def __init__(
        self,
        spec: DecoderSpec,
        weights: Weights,
        plan: CompressionPlan,
        ids: np.ndarray,
        hold_out: HoldOut = NO_HOLD_OUT,
    ) -> None:
        """As `CompressedDecoder`; `ids` are int64 (windows, tokens)."""
        super().__init__(weights, plan, None, hold_out)
        self._ops = _CompressingOps(spec, weights, ids, self._compensated)
        self._stream: Stream | None = None
        self._layer = -1
        self._matrices: dict[str, CompressedMatrix] = {}

    def matrix(self, name: str) -> CompressedMatrix:
        """The compressed matrix. CheckpointError for one that holds NaN or infinity."""
        layer = TensorName.parse(name).layer
        if layer is None:
            return super().matrix(name)
        if layer < self._layer:
            self._layer, self._stream = -1, None
        while self._layer < layer:
            self._next_layer()
        return self._matrices[name]

    def _next_layer(self) -> None:
        self._matrices.clear()
        with torch.inference_mode():
            stream = self._ops.embedding("embed_tokens") if self._stream is None else self._stream
            self._stream = decoder_layer(self._ops, self._layer + 1, stream)
        self._layer += 1

    def _compensated(self, name: str, hessian: Hessian) -> tuple[np.ndarray, np.ndarray]:
        """Compress a matrix and keep it; the float matrix and what it stands for now, float32 (rows, columns)."""
        self._matrices[name] = matrix = self._compressed(name, hessian)
        return self._weights.tensor(name), matrix.dequantize()


class _CompressingOps(StreamOps):
    """Runs a layer on matrices that are compressed when their input is known. Each batch holds its windows twice: in
    the first half past the float layers, in the second past the compressed ones."""

    def __init__(
        self,
        spec: DecoderSpec,
        weights: Weights,
        ids: np.ndarray,
        compress: Callable[[str, Hessian], tuple[np.ndarray, np.ndarray]],
    ) -> None:
        super().__init__(spec, weights, ids, copies=2)
        self._compress = compress

    def linear(self, x: Stream, name: str) -> Stream:
        return self._product(x, name, input_hessian(x))

    def linears(self, x: Stream, names: Sequence[str]) -> tuple[Stream, ...]:
        hessian = input_hessian(x)
        return tuple(self._product(x, name, hessian) for name in names)

    def _product(self, x: Stream, name: str, hessian: Hessian) -> Stream:
        # Copies, as torch aligns them: the last bits of a product depend on that, and with them the package.
        both = tuple(torch.tensor(matrix) for matrix in self._compress(name, hessian))
        bias = self._ops[0].bias(name)
        return x.map(
            lambda _, part: torch.cat(
                [F.linear(half, matrix, bias) for half, matrix in zip(part.chunk(2), both, strict=True)]
            )
        )


def input_hessian(x: Stream) -> Hessian:
    """Of a stream whose batches hold the float windows and then the same windows past compressed layers."""
    own, cross, tokens = torch.zeros(()), torch.zeros(()), 0
    for batch in x:
        floating, compressed = (half.flatten(0, -2) for half in batch.chunk(2))
        own = own + compressed.T @ compressed
        cross = cross + floating.T @ compressed
        tokens += len(compressed)
    return Hessian((own / tokens).numpy(), (cross / tokens).numpy(), tokens)
