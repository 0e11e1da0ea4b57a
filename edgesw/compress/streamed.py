"""StreamedDecoder: each matrix compressed for the inputs that a text gives it, past the layers before as stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
import torch.nn.functional as F

from edgesw.checkpoint.spec import DecoderSpec
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.plan import CompressionPlan
from edgesw.decoder.decoder import decoder_layer
from edgesw.decoder.ops import Weights
from edgesw.runtime.streams import Stream, StreamOps

# Of a column's own mean square, added to it: draws correlations that the text shows by chance towards zero.
DAMPING = 0.01


class StreamedDecoder(CompressedDecoder):
    """A `CompressedDecoder` whose matrices make up for their own errors.

    The windows of `ids` run through one layer when a matrix of it is first asked for: each matrix is compressed to the
    second moments of its input, and its output is made by the compressed matrix. In memory are one layer's matrices
    and three times the residual stream, float32 (windows, tokens, hidden). In forward order each layer is run once;
    asking for a layer that has passed begins anew. Embedding and head are compressed by themselves.
    """

    def __init__(
        self,
        spec: DecoderSpec,
        weights: Weights,
        plan: CompressionPlan,
        ids: np.ndarray,
        held_out: Iterable[tuple[int, int, int]] = (),
        progress: Callable[[str], None] | None = None,
        columns: Mapping[str, Iterable[int]] | None = None,
    ) -> None:
        """As `CompressedDecoder`; `ids` are int64 (windows, tokens)."""
        super().__init__(weights, plan, None, held_out, progress, columns)
        self._ops = _CompressingOps(spec, weights, ids, self._compensated)
        self._stream: Stream | None = None
        self._layer = -1
        self._matrices: dict[str, CompressedMatrix] = {}

    def matrix(self, name: str) -> CompressedMatrix:
        """The compressed matrix. CheckpointError for one that holds NaN or infinity."""
        if not name.startswith("layers."):
            return super().matrix(name)
        layer = int(name.split(".")[1])
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

    def _compensated(self, name: str, moments: np.ndarray) -> np.ndarray:
        """Compress a matrix and keep it; what it stands for, float32 (rows, columns)."""
        self._matrices[name] = matrix = self._compressed(name, moments)
        return matrix.dequantize()


class _CompressingOps(StreamOps):
    """Runs a layer on matrices that are compressed when their input is known."""

    def __init__(
        self, spec: DecoderSpec, weights: Weights, ids: np.ndarray, compress: Callable[[str, np.ndarray], np.ndarray]
    ) -> None:
        super().__init__(spec, weights, ids)
        self._compress = compress
        self._input: Stream | None = None
        self._moments = np.empty((0, 0), np.float32)

    def linear(self, x: Stream, name: str) -> Stream:
        if self._input is not x:  # query, key and value read one stream; so do gate and up
            self._input, self._moments = x, input_moments(x)
        weight = torch.from_numpy(self._compress(name, self._moments))
        bias = self._ops[0].bias(name)
        return x.map(lambda _, part: F.linear(part, weight, bias))


def input_moments(x: Stream) -> np.ndarray:
    """Second moments of an input, float32 (columns, columns): X^T X / tokens, damped."""
    total, tokens = torch.zeros(()), 0
    for part in x:
        flat = part.flatten(0, -2)
        total, tokens = total + flat.T @ flat, tokens + len(flat)
    moments = (total / tokens).numpy()
    own = np.diagonal(moments).copy()
    moments[np.diag_indices(len(own))] += DAMPING * own + 1e-6 * own.mean() + np.finfo(np.float32).tiny
    return moments
