"""Tiny checkpoints, made with transformers' own classes, and a GGUF with llama.cpp's order of rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import SIZES, gguf_name, interleave, state


@pytest.fixture(scope="session")
def make_llama() -> Callable[..., Any]:
    """A random model: `make_llama(folder, save={...}, dtype=..., **config)` saves it and returns it."""

    def make(folder: Path, *, save: dict[str, Any] | None = None, dtype: str = "float32", **config: Any) -> Any:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**{**SIZES, **config})).to(getattr(torch, dtype))
        model.save_pretrained(folder, **(save or {}))
        return model

    return make


@pytest.fixture(scope="session")
def tiny(
    make_llama: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, np.ndarray]]:
    """(folder, float32 tensors by Hugging Face name) of a small model with an untied head. Do not write into it."""
    folder = tmp_path_factory.mktemp("tiny")
    return folder, state(make_llama(folder))


Change = Callable[[Any], None]


@pytest.fixture(scope="session")
def write_gguf(tiny: tuple[Path, dict[str, np.ndarray]]) -> Callable[..., Path]:
    """`write_gguf(path)` writes the tiny model as GGUF, matrices in Q8_0; keywords say what differs."""

    def write(
        path: Path,
        *,
        architecture: str = "llama",
        sizes: dict[str, Any] | None = None,
        without: tuple[str, ...] = (),
        extra: dict[str, np.ndarray] | None = None,
        change: Change | None = None,
    ) -> Path:
        import gguf

        size = {**SIZES, **(sizes or {})}
        writer = gguf.GGUFWriter(path, architecture)
        writer.add_block_count(size["num_hidden_layers"])
        writer.add_context_length(size["max_position_embeddings"])
        writer.add_embedding_length(size["hidden_size"])
        writer.add_feed_forward_length(size["intermediate_size"])
        writer.add_head_count(size["num_attention_heads"])
        writer.add_head_count_kv(size["num_key_value_heads"])
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_freq_base(10000.0)
        writer.add_rope_dimension_count(size["hidden_size"] // size["num_attention_heads"])
        writer.add_name("tiny")
        if change is not None:
            change(writer)
        q8 = gguf.GGMLQuantizationType.Q8_0
        for name, tensor in tiny[1].items():
            if name in without:
                continue
            heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
            tensor = interleave(tensor, size[heads]) if heads else tensor
            if tensor.ndim == 2:
                writer.add_tensor(gguf_name(name), gguf.quants.quantize(tensor, q8), raw_dtype=q8)
            else:
                writer.add_tensor(gguf_name(name), tensor)
        for name, tensor in (extra or {}).items():
            writer.add_tensor(name, tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write
