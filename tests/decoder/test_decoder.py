"""The float decoder is the reference for everything: it must compute what transformers computes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_families import save
from transformers import LlamaConfig, LlamaForCausalLM

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.decoder.decoder import decoder
from edgesw.runtime.torch import FloatLogits, TorchOps

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
    """Otherwise every perplexity and verdict would be relative to another model."""
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


class JoinedOps(TorchOps):
    """Multiplies the matrices of one input at once, and takes their outputs apart only where they are used."""

    def linears(self, x: torch.Tensor, names: Sequence[str]) -> tuple[torch.Tensor, ...]:
        return (torch.cat(super().linears(x, names), -1),)

    def attention(self, layer: int, parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
        rows = [heads * self.spec.head_dim for heads in (self.spec.heads, self.spec.kv_heads, self.spec.kv_heads)]
        return super().attention(layer, parts[0].split(rows, -1))

    def gated(self, parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return super().gated(parts[0].chunk(2, -1))


@pytest.mark.parametrize("variant", ["llama-biased", "olmo"])
def test_an_interpreter_may_join_the_products_of_one_input(variant: str, tmp_path: Path) -> None:
    """Runtimes multiply query, key and value at once. A decoder that needed separate parts would give such a runtime
    another model."""
    save(variant, tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    ids = np.random.default_rng(0).integers(0, SIZES["vocab_size"], (2, 20))
    with torch.inference_mode():
        apart, joined = (decoder(make(checkpoint.spec, checkpoint, ids)) for make in (TorchOps, JoinedOps))
    assert torch.equal(apart, joined)
