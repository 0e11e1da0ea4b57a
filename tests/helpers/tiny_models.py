"""Sizes and names of the tiny models the tests make."""

from __future__ import annotations

from typing import Any

import numpy as np
from tiny_families import PLAIN_SIZES

SIZES = PLAIN_SIZES


def state(model: Any) -> dict[str, np.ndarray]:
    return {name: tensor.float().numpy() for name, tensor in model.state_dict().items()}


def interleave(rows: np.ndarray, heads: int) -> np.ndarray:
    """How llama.cpp's conversion stores q and k: the two rotary halves of a head alternate."""
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, 2, half, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


# Hugging Face's names of a Llama's norms -> ours.
NORMS = {"input_layernorm": "attention_norm", "post_attention_layernorm": "mlp_norm"}

GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name: str) -> str:
    special = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    stem = name.removesuffix(".weight")
    if stem in special:
        return special[stem] + ".weight"
    layer, kind = stem.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{GGUF_NAMES[kind]}.weight"
