"""Wrappers of float weights: what they read, and that they do not change the weights themselves."""

from __future__ import annotations

import numpy as np

from edgesw.decoder.weights import CachedWeights, places_of, scaled


class Source:
    """Weights that count what is read and return the same array every time, as a cache does."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.values = np.ones((3, 4), np.float32)

    def tensor(self, name: str) -> np.ndarray:
        self.read.append(name)
        return self.values

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self.values[rows]


def test_only_the_named_tensors_stay_in_memory() -> None:
    """The head is needed for every window; caching the layers too would take the memory of a whole model."""
    source = Source()
    head = CachedWeights(source, ("lm_head",))
    for name in ("lm_head", "norm", "lm_head", "norm"):
        head.tensor(name)
    assert source.read == ["lm_head", "norm", "norm"]
    source.read.clear()
    everything = CachedWeights(source)
    for name in ("lm_head", "norm", "lm_head", "norm"):
        everything.tensor(name)
    assert source.read == ["lm_head", "norm"]


def test_scaling_leaves_the_weights_themselves_as_they_are() -> None:
    """Otherwise the next condition of an experiment would lack what the last one removed."""
    source = Source()
    weights = scaled(source, places_of([(2, 0, 1), (2, 2, 3), (5, 1, 1)]), 0)
    expected = np.ones((3, 4), np.float32)
    expected[0, 1] = expected[2, 3] = 0
    np.testing.assert_array_equal(weights.tensor("layers.2.down_proj"), expected)
    for other in ("layers.2.up_proj", "layers.3.down_proj"):
        np.testing.assert_array_equal(weights.tensor(other), np.ones((3, 4)))
    assert (source.values == 1).all()
