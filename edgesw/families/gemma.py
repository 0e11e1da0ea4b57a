"""Gemma 2 and Gemma 3 (text)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edgesw.families.config import Config
from edgesw.families.family import Family, GgufValue
from edgesw.families.rope import rotary
from edgesw.families.shared import NORMS, OUTER, OUTPUT_NORMS, QK_NORMS, biased, layer_tensor, matrices, windows


def _gemma(config: Config) -> dict[str, Any]:
    """What both versions share."""
    config.only("hidden_activation", "gelu_pytorch_tanh")
    config.only("use_bidirectional_attention", False)
    return {
        "norm_after": True,
        "activation": "gelu_tanh",
        "embedding_scale": config.size("hidden_size") ** 0.5,
        "attention_scale": config.number("query_pre_attn_scalar") ** -0.5,
        "attention_softcap": config.optional_number("attn_logit_softcapping"),
        "logit_softcap": config.optional_number("final_logit_softcapping"),
        "biased": biased(config),
    }


def _gemma2(config: Config) -> dict[str, Any]:
    """Every other layer has a window."""
    return {**_gemma(config), "layer_windows": windows(config, lambda layer: layer % 2 == 0)}


def _gemma3(config: Config) -> dict[str, Any]:
    """Layers with a window have a position embedding of their own."""
    config.only("attn_logit_softcapping", None)
    head_dim, every = config.size("head_dim"), config.size("sliding_window_pattern", default=6)
    layer_windows = windows(config, lambda layer: (layer + 1) % every != 0)
    return {
        **_gemma(config),
        "qk_norm": "head",
        "rotaries": tuple(rotary(config, head_dim, kind) for kind in ("full_attention", "sliding_attention")),
        "layer_rotary": tuple(int(window is not None) for window in layer_windows),
        "layer_windows": layer_windows,
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
            found["query_pre_attn_scalar"] = hidden / heads
        if isinstance(pattern := value("attention.sliding_window_pattern"), list):
            found["layer_types"] = ["sliding_attention" if slides else "full_attention" for slides in pattern]
        elif pattern is not None:
            found["sliding_window_pattern"] = pattern
        return found

    return settings


def _gemma3_gguf(config: dict[str, Any], value: GgufValue) -> dict[str, Any]:
    """Layers with a window have their own theta. GGUF files may leave out both the theta and the window."""
    sliding = {"rope_type": "default", "rope_theta": value("rope.freq_base_swa") or 10000.0}
    return {
        **_gguf(layers_of_27b=62)(config, value),
        "sliding_window": config.get("sliding_window"),
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
_DEFAULTS = {
    "hidden_activation": "gelu_pytorch_tanh",
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "tie_word_embeddings": True,
    "sliding_window": 4096,
    "bos_token_id": 2,
    "eos_token_id": 1,
}

GEMMA2 = Family(
    name="gemma2",
    architectures=("Gemma2ForCausalLM",),
    model_type="gemma2",
    gguf="gemma2",
    tensors=_TENSORS,
    defaults={**_DEFAULTS, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    switches=_gemma2,
    gguf_settings=_gguf(layers_of_27b=46),
)

GEMMA3 = Family(
    name="gemma3",
    architectures=("Gemma3ForCausalLM",),
    model_type="gemma3_text",
    gguf="gemma3",
    tensors=_TENSORS,
    defaults={**_DEFAULTS, "rope_theta": 1e6, "rope_local_base_freq": 10000.0},
    switches=_gemma3,
    gguf_settings=_gemma3_gguf,
)
