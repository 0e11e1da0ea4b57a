"""coremltools' quantizers of finished models: block integers and palettes, without calibration.

Its blocks and groups must divide a matrix, and can be set matrix by matrix. Where a size does not divide one, the
nearest divisor is used, as edgesw does.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from benchmarks.peers.peer import ByMatrix, Peer
from edgesw.compress.capabilities import nearest_divisor
from edgesw.system.log_filter import coremltools


def linear(weights: np.ndarray, block: int) -> tuple[np.ndarray, float]:
    """`linear_quantize_weights`, int4 per block, its default symmetric mode, on float16 as converters store weights."""
    block = nearest_divisor(weights.shape[1], block)
    coremltools()
    from coremltools.optimize.coreml._quantization_passes import linear_quantize_weights

    params = linear_quantize_weights.blockwise_compress(
        weights.astype(np.float16), nbits=4, mode="LINEAR_SYMMETRIC", signed=True, block_sizes=[1, block]
    )
    stored = weights.size / 2 + params.scale.nbytes
    return linear_quantize_weights.decompress(params).astype(np.float32), stored


def palette(weights: np.ndarray, bits: int, group: int) -> tuple[np.ndarray, float]:
    """`palettize_weights`, k-means, a palette for every `group` rows (0: for all).

    For groups under 10,000 values coremltools would use scikit-learn, if installed: 8 seconds per million weights, and
    a little worse. Here all groups get its exact one-dimensional k-means, in parallel.
    """
    if group == 0:
        return _palette(weights, bits, 0)
    group = nearest_divisor(len(weights), group)
    parts = [weights[start : start + 8 * group] for start in range(0, len(weights), 8 * group)]
    coremltools()
    with ThreadPoolExecutor() as threads:
        values, stored = zip(*threads.map(lambda part: _palette(part, bits, group), parts), strict=True)
    return np.concatenate(values), sum(stored)


def _palette(weights: np.ndarray, bits: int, group: int) -> tuple[np.ndarray, float]:
    coremltools()
    from coremltools.optimize.coreml._quantization_passes import palettize_weights

    params = exact_palettes(weights, bits, group)
    stored = weights.size * bits / 8 + params.lut.nbytes
    return palettize_weights.decompress(params).astype(np.float32), stored


def exact_palettes(weights: np.ndarray, bits: int, group: int) -> Any:
    """coremltools' `LutParams` by its exact k-means, whatever the size of a group."""
    coremltools()
    from coremltools.models.neural_network.quantization_utils import _get_kmeans_lookup_table_and_weight
    from coremltools.optimize.coreml._quantization_passes import palettize_weights

    def exact(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lut, codes = _get_kmeans_lookup_table_and_weight(bits, values, force_kmeans1d=True)
        return lut.astype(values.dtype), codes.astype(np.uint8)

    return palettize_weights.blockwise_compress(
        weights.astype(np.float16), "CUSTOM", None, block_sizes=[group, 0], lut_function=exact
    )


PEERS = (
    *(
        Peer(f"coremltools linear int4, blocks of {block}", ByMatrix(partial(linear, block=block)))
        for block in (32, 64, 128)
    ),
    *(
        Peer(
            f"coremltools palettes {bits} bits, {f'groups of {group} rows' if group else 'per tensor'}",
            ByMatrix(partial(palette, bits=bits, group=group)),
        )
        for bits in (4, 3, 2)
        for group in (0, 32, 16, 8)
    ),
)
