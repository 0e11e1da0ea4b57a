"""The float decoder is what everything is measured against: it must be transformers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.runtime.torch import FloatLogits

SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "max_position_embeddings": 128,
}


@pytest.mark.parametrize(
    "config",
    [
        {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True},
        {"num_attention_heads": 4, "num_key_value_heads": 4, "tie_word_embeddings": False},
        {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 48, "rms_norm_eps": 1e-3},
    ],
    ids=["grouped heads, tied head", "own head", "wide heads, large epsilon"],
)
def test_logits_equal_transformers(tmp_path: Path, config: dict[str, Any]) -> None:
    """If not, every perplexity and every verdict would be measured against another model."""
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(**{**SIZES, **config})).eval()
    for parameter in model.parameters():  # norms that are not all ones, weights that are not all tiny
        parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    ids = np.random.default_rng(0).integers(0, SIZES["vocab_size"], (2, 100))
    with torch.inference_mode():
        expected = model(torch.from_numpy(ids)).logits.numpy()
    ours = np.stack(list(FloatLogits(checkpoint.spec, checkpoint, ids)))
    assert np.abs(ours - expected).max() < 1e-4
