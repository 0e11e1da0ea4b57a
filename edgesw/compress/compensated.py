"""StreamedDecoder: error compensation, layer by layer, for the inputs that the layers before give as stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from edgesw.compress.compensate import Hessian
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import NO_HOLD_OUT, HoldOut
from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.matrix_store import MatrixStore
from edgesw.compress.plan import CompressionPlan
from edgesw.decoder.decoder import decoder_layer
from edgesw.decoder.names import TensorName
from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.runtime.streams import Stream, StreamOps

# Wider matrices are not compensated: the Hessian and what is computed from it would take 3 GB or more.
MOST_COLUMNS = 8192
# The most bytes of a matrix's inputs that are held in memory, not computed each time they are read.
CACHED = 512 << 20
# A symmetric product is computed in this many strips of columns, each only down to the diagonal.
GRAM_PARTS = 8


class StreamedDecoder(CompressedDecoder):
    """A `CompressedDecoder` with error compensation.

    When a matrix of a layer is first asked for and is not in the store, the windows of `ids` run through the layer
    twice, through the float matrices and through the compressed ones: each matrix is compressed so that its product
    with the second input comes close to the float matrix's product with the first. In memory are one layer's compressed
    matrices and three times both residual streams, float32 (windows, tokens, hidden) each. In forward order each layer
    runs once; a matrix of an earlier layer that is not in the store starts over from the first layer. Embedding and
    head are compressed without compensation.
    """

    def __init__(
        self,
        spec: DecoderSpec,
        weights: Weights,
        plan: CompressionPlan,
        ids: np.ndarray,
        hold_out: HoldOut = NO_HOLD_OUT,
        store: MatrixStore | None = None,
        on_matrix: Callable[[str], None] = lambda name: None,
        products: torch.dtype = torch.float32,
        importance: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """As `CompressedDecoder`; `ids` are int64 (windows, tokens). `importance` counts where there are too many
        columns for compensation. `products` is the type of what is multiplied with the ids' inputs; sums are float32.
        """
        super().__init__(weights, plan, importance, hold_out, store, on_matrix)
        self._ops = _CompressingOps(spec, weights, ids, self._compensated, products)
        self._stream: Stream | None = None
        self._layer = -1
        self._matrices: dict[str, CompressedMatrix] = {}

    def matrix(self, name: str) -> CompressedMatrix:
        layer = TensorName.parse(name).layer
        if layer is None:
            return super().matrix(name)
        if layer == self._layer:
            return self._matrices[name]
        if (found := self._stored(name)) is not None:
            self._announce(name)
            return found
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

    def _compensated(self, name: str, hessian: Callable[[], Hessian]) -> tuple[np.ndarray, np.ndarray]:
        """Compresses a matrix of the next layer, or finds it in the store. Returns the float matrix and the one that
        the compressed matrix represents, float32 (rows, columns)."""
        self._announce(name)
        matrix, weights = self._stored(name), self._finite(name)
        if matrix is None:
            matrix = self._compressed(name, weights, hessian() if weights.shape[1] <= MOST_COLUMNS else None)
        self._matrices[name] = matrix
        return weights, matrix.dequantize()


class _CompressingOps(StreamOps):
    """Runs a layer on matrices that are compressed once their input is known. Each batch has its windows twice: the
    first half has been through the float layers, the second through the compressed ones."""

    def __init__(
        self,
        spec: DecoderSpec,
        weights: Weights,
        ids: np.ndarray,
        compress: Callable[[str, Callable[[], Hessian]], tuple[np.ndarray, np.ndarray]],
        products: torch.dtype,
    ) -> None:
        super().__init__(spec, weights, ids, 2, products)
        self._tokens = 2 * ids.size
        self._compress = compress

    def linear(self, x: Stream, name: str) -> Stream:
        return self.linears(x, (name,))[0]

    def linears(self, x: Stream, names: Sequence[str]) -> tuple[Stream, ...]:
        if self._bytes(names[0]) <= CACHED:
            x = x.cached(self.dtype)  # read for the Hessian, and by each of the matrices
        hessian = cache(lambda: input_hessian(x, self.dtype))  # shared by the matrices with this input
        return tuple(self._product(x, name, hessian) for name in names)

    def _bytes(self, name: str) -> int:
        """What all inputs of a matrix take."""
        shape = self.spec.shape(name)
        assert shape is not None
        return self._tokens * shape[1] * self.dtype.itemsize

    def _product(self, x: Stream, name: str, hessian: Callable[[], Hessian]) -> Stream:
        # Copies, as torch aligns them: the last bits of a product depend on that, and with them the package.
        both = tuple(torch.tensor(matrix, dtype=self.dtype) for matrix in self._compress(name, hessian))
        bias = self._ops[0].bias(name)
        return x.map(
            lambda _, part: torch.cat(
                [F.linear(half.to(self.dtype), matrix, bias) for half, matrix in zip(part.chunk(2), both, strict=True)]
            )
        )


def input_hessian(x: Stream, products: torch.dtype = torch.float32) -> Hessian:
    """The Hessian of a stream whose batches hold windows of the float layers and then the same of the compressed
    ones, by products of this type."""
    own, shift, tokens = torch.zeros(()), torch.zeros(()), 0
    for batch in x:
        floating, compressed = (half.flatten(0, -2) for half in batch.chunk(2))
        inputs = compressed.to(products)
        own = own + _gram(inputs)
        # Their difference, not both: rounded by themselves they would differ by more than compression makes them.
        shift = shift + ((floating.float() - compressed.float()).to(products).T @ inputs).float()
        tokens += len(compressed)
    return Hessian((own / tokens).numpy(), (shift / tokens).numpy(), tokens, products)


def _gram(x: torch.Tensor) -> torch.Tensor:
    """x^T x in float32, (columns, columns): what lies above the diagonal is computed, the rest copied."""
    columns = x.shape[1]
    found = torch.empty((columns, columns))
    for first in range(0, columns, each := max(64, -(-columns // GRAM_PARTS))):
        own = slice(first, min(first + each, columns))
        found[: own.stop, own] = x[:, : own.stop].T @ x[:, own]
        found[own, :first] = found[:first, own].T
    return found
