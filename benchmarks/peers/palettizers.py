"""One-dimensional k-means by edgesw and by peers, through one interface: weights to palettes and codes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.peers.coremltools_quantizers import exact_palettes
from edgesw.compress.palette import encode_palettes, fit_palettes
from edgesw.system.log_filter import coremltools


@dataclass(frozen=True)
class Palettizer:
    """A palette search."""

    title: str
    palettize: Callable[[np.ndarray, int, int], tuple[np.ndarray, np.ndarray]]
    """(weights, bits, group) -> palettes (groups, 2**bits) and codes (rows, columns). Weights are float32 (rows,
    columns), each value a 16-bit float."""
    slow: bool = True
    """It takes seconds per million weights, so it gets fewer rows."""
    module: str | None = None
    """A module that must be installed."""

    def available(self) -> bool:
        return self.module is None or importlib.util.find_spec(self.module) is not None


def by_edgesw(weights: np.ndarray, bits: int, group: int) -> tuple[np.ndarray, np.ndarray]:
    palettes = fit_palettes(weights, bits, group)
    return palettes, encode_palettes(weights, palettes, group)


def core_ml_default(weights: np.ndarray, bits: int, group: int) -> tuple[np.ndarray, np.ndarray]:
    """coremltools' `palettize_weights` for Core ML, one process: scikit-learn for groups under 10,000 values."""
    coremltools()
    from coremltools.optimize.coreml._quantization_passes import palettize_weights

    half = weights.astype(np.float16)
    params = palettize_weights.blockwise_compress(half, "KMEANS", bits, block_sizes=[group, 0])
    return params.lut.reshape(-1, 2**bits), params.indices.reshape(weights.shape)


def core_ml_exact(weights: np.ndarray, bits: int, group: int) -> tuple[np.ndarray, np.ndarray]:
    """The same with its exact k-means for groups of any size."""
    params = exact_palettes(weights, bits, group)
    return params.lut.reshape(-1, 2**bits), params.indices.reshape(weights.shape)


def torch_palettizer(weights: np.ndarray, bits: int, group: int) -> tuple[np.ndarray, np.ndarray]:
    """`PostTrainingPalettizer` on one linear layer of float32 weights, with its defaults except for the groups."""
    coremltools()
    import torch
    from coremltools.optimize.torch.palettization import PostTrainingPalettizer, PostTrainingPalettizerConfig

    torch.set_num_threads(1)
    layer = torch.nn.Linear(weights.shape[1], weights.shape[0], bias=False)
    layer.weight.data = torch.from_numpy(weights.copy())
    options: dict[str, object] = {"n_bits": bits, "granularity": "per_tensor"}
    if group:
        options = {"n_bits": bits, "granularity": "per_grouped_channel", "group_size": group}
    config = PostTrainingPalettizerConfig.from_dict({"global_config": options})
    model = PostTrainingPalettizer(torch.nn.Sequential(layer), config).compress(num_kmeans_workers=1)
    dequantized = model[0].weight.detach().numpy()

    def fit(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.unique(part, return_inverse=True)  # it returns float weights: their distinct values are the palette

    return _by_group(dequantized, bits, group, fit)


def kmeans1d_histogram(weights: np.ndarray, bits: int, group: int) -> tuple[np.ndarray, np.ndarray]:
    """kmeans1d on the distinct values, weighted by how often each occurs."""
    coremltools()
    from coremltools._deps import kmeans1d

    def fit(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distinct, inverse, counts = np.unique(part, return_inverse=True, return_counts=True)
        codes, entries = kmeans1d.cluster(distinct, 2**bits, weights=counts)
        return np.array(entries), np.array(codes)[inverse]

    return _by_group(weights, bits, group, fit)


def kmeans1d_plain(weights: np.ndarray, bits: int, group: int) -> tuple[np.ndarray, np.ndarray]:
    """kmeans1d on all values."""
    coremltools()
    from coremltools._deps import kmeans1d

    def fit(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        codes, entries = kmeans1d.cluster(part.ravel(), 2**bits)
        return np.array(entries), np.array(codes)

    return _by_group(weights, bits, group, fit)


def scikit_learn(weights: np.ndarray, bits: int, group: int) -> tuple[np.ndarray, np.ndarray]:
    """KMeans with its defaults: one start by k-means++, Lloyd's iteration."""
    from sklearn.cluster import KMeans

    def fit(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        fitted = KMeans(2**bits, random_state=0).fit(part.reshape(-1, 1))
        return fitted.cluster_centers_[:, 0], fitted.labels_

    return _by_group(weights, bits, group, fit)


def _by_group(
    weights: np.ndarray, bits: int, group: int, fit: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Palettes and codes of all groups; `fit` returns the entries and the codes of one group's rows."""
    palettes, codes = [], np.empty(weights.shape, np.int64)
    each = group or len(weights)
    for start in range(0, len(weights), each):
        part = slice(start, start + each)
        entries, found = fit(weights[part])
        palettes.append(np.pad(entries, (0, 2**bits - len(entries)), mode="edge"))
        codes[part] = found.reshape(weights[part].shape)
    return np.stack(palettes), codes


EDGESW = Palettizer("edgesw", by_edgesw, slow=False)
PALETTIZERS = (
    Palettizer("coremltools palettize_weights", core_ml_default, module="sklearn"),
    Palettizer("coremltools palettize_weights, exact", core_ml_exact),
    Palettizer("coremltools PostTrainingPalettizer", torch_palettizer),
    Palettizer("kmeans1d, on the histogram", kmeans1d_histogram),
    Palettizer("kmeans1d, on all values", kmeans1d_plain),
    Palettizer("scikit-learn KMeans", scikit_learn, module="sklearn"),
)
