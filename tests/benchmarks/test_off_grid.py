"""The model that the quality table begins with: the same function, other weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import logits_of, save_llama
from transformers import LlamaForCausalLM

from benchmarks.quality import off_grid
from edgesw.checkpoint.checkpoint import open_checkpoint


@pytest.mark.parametrize("tied", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_function_is_the_same_and_every_matrix_another(tied: bool, tmp_path: Path) -> None:
    """Otherwise the rows would be compared with another model, or the matrices would still lie on the old grid."""
    model = save_llama(tmp_path / "model", tie_word_embeddings=tied)
    checkpoint = open_checkpoint(str(tmp_path / "model"))
    assert checkpoint.spec.kv_heads < checkpoint.spec.heads, "query heads share a channel of value"
    off_grid.write(checkpoint, tmp_path / "other")
    other = open_checkpoint(str(tmp_path / "other"))
    ids = np.arange(3, 60)
    expected = logits_of(model, ids)
    ours = logits_of(LlamaForCausalLM.from_pretrained(tmp_path / "other").float(), ids)
    assert np.abs(ours - expected).max() < 0.01 * np.abs(expected).max()  # it is stored in float16
    for name in checkpoint.spec.matrices():
        before, after = checkpoint.tensor(name), other.tensor(name)
        ratio = after[np.abs(before) > 1e-2] / before[np.abs(before) > 1e-2]
        assert ratio.std() > 0.05 and ratio.min() > 0.5 and ratio.max() < 2, name
