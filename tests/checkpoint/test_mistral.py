"""Mistral checkpoints, as transformers saves them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny_models import SIZES, state

from edgesw.checkpoint.checkpoint import open_checkpoint


def test_mistral_is_read_as_transformers_saved_it(tmp_path: Path) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    model = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=48))
    model.save_pretrained(tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    assert checkpoint.spec.family == "mistral"
    assert checkpoint.spec.layer_windows == (48, 48)
    theirs = state(model)["model.layers.1.self_attn.k_proj.weight"]
    np.testing.assert_array_equal(checkpoint.tensor("layers.1.k_proj"), theirs)
