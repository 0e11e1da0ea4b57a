"""What other quantizers make of a matrix, by their own code and with their own defaults. None of them calibrates."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgesw.decoder.ops import Weights
from edgesw.quiet import coremltools

BLOCK = 32


@dataclass(frozen=True)
class Peer:
    """`quantize` takes float32 (rows, columns) and returns what it stores, dequantised, and the bytes it stores.

    `divides` divides the rows and columns of a matrix that it takes: others stay float16, as its tool leaves them.
    """

    title: str
    quantize: Callable[[np.ndarray], tuple[np.ndarray, float]]
    divides: tuple[int, int] = (1, 1)


class PeerMatrices:
    """The matrices of a decoder as a peer stores them, made when asked for, and how many bits that takes."""

    def __init__(self, weights: Weights, peer: Peer) -> None:
        self._weights, self._peer, self._stored, self._count = weights, peer, 0.0, 0
        self.left_float = 0

    def tensor(self, name: str) -> np.ndarray:
        values = self._weights.tensor(name)
        if any(size % divisor for size, divisor in zip(values.shape, self._peer.divides, strict=True)):
            dequantised, stored = values.astype(np.float16).astype(np.float32), 2.0 * values.size
            self.left_float += 1
        else:
            dequantised, stored = self._peer.quantize(values)
        self._stored += stored
        self._count += values.size
        return dequantised

    @property
    def bits_per_weight(self) -> float:
        """Of the matrices made so far."""
        return 8 * self._stored / self._count


def onnxruntime_rtn(weights: np.ndarray, symmetric: bool) -> tuple[np.ndarray, float]:
    """MatMulNBits, 4 bits per block, by the function that its DefaultWeightOnlyQuantizer calls.

    The Python class around it imports a package that onnxruntime does not install, so it is called as the class does.
    A value is (code - zero point) * scale, low half of a byte first, 8 where there is no zero point
    (com.microsoft.MatMulNBits). Scales have the type of the weights, here float32.
    """
    from onnxruntime.capi._pybind_state import quantize_matmul_4bits

    rows, columns = weights.shape
    blocks = -(-columns // BLOCK)
    transposed = np.ascontiguousarray(np.pad(weights, ((0, 0), (0, blocks * BLOCK - columns))).T)
    packed = np.zeros((rows, blocks, BLOCK // 2), np.uint8)
    scales = np.zeros((rows, blocks), np.float32)
    zeros = np.zeros((rows, (blocks + 1) // 2), np.uint8)
    quantize_matmul_4bits(packed, transposed, scales, zeros, BLOCK, rows, columns, symmetric)
    zero = np.float32(8) if symmetric else _halves(zeros)[:, :blocks, None]
    codes = _halves(packed).reshape(rows, blocks, BLOCK)
    values = ((codes - zero) * scales[..., None]).reshape(rows, -1)[:, :columns]
    return values, packed.nbytes + scales.nbytes + (0 if symmetric else zeros.nbytes)


def coremltools_linear(weights: np.ndarray) -> tuple[np.ndarray, float]:
    """`linear_quantize_weights`, int4 per block, its default symmetric mode, on float16 as converters store weights."""
    coremltools()
    from coremltools.optimize.coreml._quantization_passes import linear_quantize_weights

    params = linear_quantize_weights.blockwise_compress(
        weights.astype(np.float16), nbits=4, mode="LINEAR_SYMMETRIC", signed=True, block_sizes=[1, BLOCK]
    )
    stored = weights.size / 2 + params.scale.nbytes
    return linear_quantize_weights.decompress(params).astype(np.float32), stored


def coremltools_palette(weights: np.ndarray, group: int) -> tuple[np.ndarray, float]:
    """`palettize_weights`, k-means of 4 bits, a palette for every `group` rows (0: for all).

    Groups under 10,000 values coremltools would hand to scikit-learn, if installed: 8 seconds per million weights, and
    a little worse. All get its exact one-dimensional k-means instead, in parallel.
    """
    if group == 0:
        return _palette(weights, 0)
    parts = [weights[start : start + 8 * group] for start in range(0, len(weights), 8 * group)]
    coremltools()
    with ThreadPoolExecutor() as threads:
        values, stored = zip(*threads.map(lambda part: _palette(part, group), parts), strict=True)
    return np.concatenate(values), sum(stored)


def llama_cpp_q4_0(weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Q4_0: 4 bits per block of 32, a float16 scale, by llama.cpp's own Python package."""
    from gguf import GGMLQuantizationType, quants

    stored = quants.quantize(weights, GGMLQuantizationType.Q4_0)
    return quants.dequantize(stored, GGMLQuantizationType.Q4_0), stored.nbytes


def _halves(packed: np.ndarray) -> np.ndarray:
    """Bytes (..., n) -> their halves (..., 2 n), low one first, float32."""
    halves = np.stack([packed & 15, packed >> 4], -1)
    return halves.reshape(*packed.shape[:-1], -1).astype(np.float32)


def _palette(weights: np.ndarray, group: int) -> tuple[np.ndarray, float]:
    coremltools()
    from coremltools.models.neural_network.quantization_utils import _get_kmeans_lookup_table_and_weight
    from coremltools.optimize.coreml._quantization_passes import palettize_weights

    def exact(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lut, codes = _get_kmeans_lookup_table_and_weight(4, values, force_kmeans1d=True)
        return lut.astype(values.dtype), codes.astype(np.uint8)

    params = palettize_weights.blockwise_compress(
        weights.astype(np.float16), "CUSTOM", None, block_sizes=[group, 0], lut_function=exact
    )
    return palettize_weights.decompress(params).astype(np.float32), weights.size / 2 + params.lut.nbytes


_RTN = "onnxruntime MatMulNBits RTN, blocks of 32"
PEERS = (
    Peer(_RTN, partial(onnxruntime_rtn, symmetric=True)),
    Peer(f"{_RTN}, zero points", partial(onnxruntime_rtn, symmetric=False)),
    Peer("coremltools linear_quantize_weights int4, blocks of 32", coremltools_linear, (1, BLOCK)),
    Peer("coremltools palettize_weights 4 bits, groups of 16 rows", partial(coremltools_palette, group=16), (16, 1)),
    Peer("coremltools palettize_weights 4 bits, per tensor", partial(coremltools_palette, group=0)),
    Peer("llama.cpp Q4_0 (blocks of 32)", llama_cpp_q4_0, (1, BLOCK)),
)
