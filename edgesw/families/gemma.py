"""Gemma 2 and Gemma 3 (text)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edgesw.families.config import MOST_LAYERS, Config
from edgesw.families.family import Family, GgufValue
from edgesw.families.rope import rotary
from edgesw.families.shared import NORMS, OUTER, OUTPUT_NORMS, QK_NORMS, layer_tensor, matrices
from edgesw.families.switches import biased, windows


def _gemma(config: Config) -> dict[str, Any]:
    """What both versions share."""
    return {
        "norm_after": True,
        "embedding_scale": config.size("hidden_size") ** 0.5,
        "attention_scale": config.number("query_pre_attn_scalar") ** -0.5,
        "attention_softcap": config.optional_number("attn_logit_softcapping"),
        "logit_softcap": config.optional_number("final_logit_softcapping"),
        "biased": biased(config),
    }


def _gemma3(config: Config) -> dict[str, Any]:
    """Layers with a window have a position embedding of their own."""
    config.only("attn_logit_softcapping", None)
    kinds = ("full_attention", "sliding_attention")
    return {
        **_gemma(config),
        "qk_norm": "head",
        "rotaries": tuple(rotary(config, config.size("head_dim"), kind) for kind in kinds),
        "layer_rotary": tuple(int(window is not None) for window in windows(config)),
    }


def _gguf(layers_of_27b: int) -> Callable[[dict[str, Any], GgufValue], dict[str, Any]]:
    """The 27B models scale attention scores by hidden_size / heads, the others by head_dim.

    GGUF files do not say which: llama.cpp recognises the 27B models by their number of layers (src/models/gemma2.cpp,
    gemma3.cpp).
    """

    def settings(config: dict[str, Any], value: GgufValue) -> dict[str, Any]:
        hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
        found: dict[str, Any] = {"query_pre_attn_scalar": config.get("head_dim")}
        if config.get("num_hidden_layers") == layers_of_27b and type(hidden) is type(heads) is int and heads > 0:
            found["query_pre_attn_scalar"] = hidden // heads
        if isinstance(pattern := value("attention.sliding_window_pattern"), list):
            found["layer_types"] = ["sliding_attention" if slides else "full_attention" for slides in pattern]
        elif pattern is not None:
            found["sliding_window_pattern"] = pattern
        return found

    return settings


def _gemma3_gguf(config: dict[str, Any], value: GgufValue) -> dict[str, Any]:
    """Layers with a window have their own theta. GGUF files may leave out both the theta and the window."""
    sliding = {"rope_type": "default", "rope_theta": value("rope.freq_base_swa") or 10000.0}
    layers = config.get("num_hidden_layers")
    without = {"layer_types": ["full_attention"] * layers} if type(layers) is int and layers <= MOST_LAYERS else {}
    return {
        **_gguf(layers_of_27b=62)(config, value),
        "sliding_window": config.get("sliding_window"),
        **({} if config.get("sliding_window") else without),
        "rope_parameters": {"full_attention": config["rope_parameters"], "sliding_attention": sliding},
    }


_TENSORS = {
    name: replace(stored, hf_shift=1.0) if name.endswith("norm") else stored
    for name, stored in {
        **OUTER,
        **NORMS,
        **QK_NORMS,
        **OUTPUT_NORMS,
        "layers.{layer}.mlp_norm": layer_tensor("pre_feedforward_layernorm.weight", "ffn_norm.weight"),
        **matrices(interleaved=False),
    }.items()
}

GEMMA2 = Family(
    name="gemma2",
    architecture="Gemma2ForCausalLM",
    model_type="gemma2",
    gguf="gemma2",
    tensors=_TENSORS,
    switches=_gemma,
    gguf_settings=_gguf(layers_of_27b=46),
)

GEMMA3 = Family(
    name="gemma3",
    architecture="Gemma3ForCausalLM",
    model_type="gemma3_text",
    gguf="gemma3",
    tensors=_TENSORS,
    switches=_gemma3,
    gguf_settings=_gemma3_gguf,
)
