"""Ablation, compared with transformers: the same scalars zeroed in its model, and the KL divergence of its logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_families
import torch

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.outliers.ablation_kl import divergences
from edgesw.recipes.coordinates import Coordinates
from edgesw.runtime.torch import TorchOps, residual_stream

IDS = np.arange(20, 29)
REMOVALS = [
    frozenset({(0, 3, 5)}),
    frozenset({(1, 7, 2)}),
    frozenset({(0, 3, 5), (1, 7, 2), (1, 8, 2)}),
]


def _by_transformers(model: Any, removal: frozenset[Coordinates]) -> np.ndarray:
    def log_probabilities() -> torch.Tensor:
        return model(torch.from_numpy(IDS)[None]).logits[0].double().log_softmax(-1)

    with torch.no_grad():
        whole, kept = log_probabilities(), {}
        for layer, row, column in removal:
            down = model.model.layers[layer].mlp.down_proj.weight
            kept[layer, row, column] = float(down[row, column])
            down[row, column] = 0
        changed = log_probabilities()
        for (layer, row, column), value in kept.items():
            model.model.layers[layer].mlp.down_proj.weight[row, column] = value
        return (whole.exp() * (whole - changed)).sum(-1).numpy()


@pytest.mark.parametrize("family", ["llama-biased", "olmo2", "gemma2", "phi3"])
def test_divergence_is_that_of_transformers(family: str, tmp_path: Path) -> None:
    """With wrong effects, ordinary scalars become super weights. All variants run side by side, and the head is read in
    slices: a variant that leaks into another, or a missing slice, shows here."""
    model = tiny_families.save(family, tmp_path, intermediate_size=40)  # slices of 40, 40 and 16 tokens
    with torch.no_grad():
        for layer, row, column in set().union(*REMOVALS):
            model.model.layers[layer].mlp.down_proj.weight[row, column] = 3
    model.save_pretrained(tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    stream = list(residual_stream(TorchOps(checkpoint.spec, checkpoint, IDS[None])))
    measured = divergences(checkpoint.spec, checkpoint, IDS, stream, REMOVALS)
    for removal in REMOVALS:
        expected = _by_transformers(model, removal)
        assert expected.max() > 1e-3
        np.testing.assert_allclose(measured[removal], expected, rtol=1e-3, atol=1e-5)


def test_layers_before_the_change_do_not_run_again(tmp_path: Path) -> None:
    """Detection of a deep model takes as long as its passes."""
    tiny_families.save("llama", tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    stream = list(residual_stream(TorchOps(checkpoint.spec, checkpoint, IDS[None])))
    layers: list[int] = []
    divergences(checkpoint.spec, checkpoint, IDS, stream, [REMOVALS[1]], progress=layers.append)
    assert layers == [1, 2]
