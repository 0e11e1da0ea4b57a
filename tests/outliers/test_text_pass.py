"""Ablation on a text, compared with transformers: the same scalars zeroed in its model, on the same windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_families
import torch

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.outliers import text_pass
from edgesw.outliers.text_pass import measure_text

IDS = np.random.default_rng(0).integers(3, 96, (3, 40))
SKIPPED = 2  # tokens of each window that are not the text's
REMOVALS = [
    frozenset({(0, 3, 5)}),
    frozenset({(1, 7, 2)}),
    frozenset({(0, 3, 5), (1, 7, 2), (1, 8, 2)}),
    frozenset({(0, 3, 5), (0, 3, 6)}),
]


def _by_transformers(model: Any, removal: frozenset[tuple[int, int, int]]) -> torch.Tensor:
    """Log probabilities of what follows each position that counts."""
    with torch.no_grad():
        kept = {at: float(model.model.layers[at[0]].mlp.down_proj.weight[at[1:]]) for at in removal}
        for layer, row, column in removal:
            model.model.layers[layer].mlp.down_proj.weight[row, column] = 0
        logits = model(torch.from_numpy(IDS)).logits[:, SKIPPED - 1 : -1].double().log_softmax(-1)
        for (layer, row, column), value in kept.items():
            model.model.layers[layer].mlp.down_proj.weight[row, column] = value
    return logits


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text and a head of several blocks, as those of real models are."""
    monkeypatch.setattr(text_pass, "LAYER_TOKENS", 80)
    monkeypatch.setattr(text_pass, "HEAD_TOKENS", 32)
    monkeypatch.setattr(text_pass, "HEAD_ROWS", 40)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("family", ["llama-biased", "olmo2", "gemma2", "phi3", "qwen3"])
def test_perplexity_divergence_and_agreement_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    """These figures say whether a scalar is a super weight. A variant that leaks into another, a slice or a window that
    is left out, or a position too many, shows here."""
    model = tiny_families.save(family, tmp_path)
    with torch.no_grad():
        for layer, row, column in set().union(*REMOVALS):
            model.model.layers[layer].mlp.down_proj.weight[row, column] = 3
    model.save_pretrained(tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    measured = measure_text(checkpoint.spec, checkpoint, IDS, SKIPPED, REMOVALS, torch.float32)
    whole, targets = _by_transformers(model, frozenset()), torch.from_numpy(IDS[:, SKIPPED:, None])

    def loss(logits: torch.Tensor) -> float:
        return -float(logits.gather(-1, targets).mean())

    average = whole.exp().mean((0, 1)).log()
    assert measured.tokens == targets.numel()
    assert measured.perplexity == pytest.approx(np.exp(loss(whole)), rel=1e-4)
    assert measured.known == pytest.approx(float((whole.exp() * (whole - average)).sum(-1).mean()), rel=1e-3)
    for removal in REMOVALS:
        changed, found = _by_transformers(model, removal), measured.changes[removal]
        expected = float((whole.exp() * (whole - changed)).sum(-1).mean())
        assert expected > 1e-3
        assert found.kl == pytest.approx(expected, rel=2e-3, abs=1e-5)
        assert found.perplexity == pytest.approx(np.exp(loss(changed) - loss(whole)), rel=1e-4)
        same = (changed.argmax(-1) == whole.argmax(-1)).double().mean()
        assert found.top1 == pytest.approx(float(same), abs=1.5 / targets.numel())


def test_bfloat16_products_change_an_effect_by_less_than_what_is_clear(tmp_path: Path) -> None:
    """Otherwise what a scalar is would depend on the processor."""
    model = tiny_families.save("llama", tmp_path)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[3, 5] = 3
    model.save_pretrained(tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    exact, narrow = (
        measure_text(checkpoint.spec, checkpoint, IDS, 0, [REMOVALS[0]], dtype).changes[REMOVALS[0]]
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert narrow.kl == pytest.approx(exact.kl, rel=0.02, abs=0.005)


def test_each_matrix_is_read_once(tmp_path: Path) -> None:
    """However many scalars are measured: reading takes most of the time of a large model."""
    tiny_families.save("llama", tmp_path)
    checkpoint, read = open_checkpoint(str(tmp_path)), list[str]()

    class Counted:
        def tensor(self, name: str) -> np.ndarray:
            read.append(name)
            return checkpoint.tensor(name)

        def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
            return checkpoint.rows(name, rows)

    measure_text(checkpoint.spec, Counted(), IDS, 0, REMOVALS)
    assert all(read.count(name) == 1 for name in checkpoint.spec.matrices())
