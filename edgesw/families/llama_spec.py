"""The DecoderSpec of a plain Llama, from which each family states only how it differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgesw.decoder.spec import DecoderSpec
from edgesw.families.config import Config
from edgesw.families.rope import rotary
from edgesw.families.switches import activation, windows


def llama_spec(config: Config, family: str, switches: Mapping[str, Any]) -> DecoderSpec:
    """The decoder that a config describes in the keys all families share; `switches` (fields of DecoderSpec) override.

    The RoPE settings and `rms_norm_eps` are read only where no switch takes their place.
    """
    layers = config.layers()
    heads = config.size("num_attention_heads")
    kv_heads = config.size("num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise config.wrong("num_attention_heads", f"must be a multiple of 'num_key_value_heads', {kv_heads}")
    head_dim = config.size("head_dim", default=0) or config.divides("num_attention_heads", "hidden_size")
    if head_dim % 2:
        raise config.wrong("head_dim", "must be even: RoPE rotates pairs of channels")
    return DecoderSpec(
        **{
            "family": family,
            "layers": layers,
            "hidden_size": config.size("hidden_size"),
            "intermediate_size": config.size("intermediate_size"),
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": head_dim,
            "vocab_size": config.size("vocab_size"),
            "max_positions": config.size("max_position_embeddings"),
            "norm_eps": switches["norm_eps"] if "norm_eps" in switches else config.number("rms_norm_eps"),
            "tied_head": config.flag("tie_word_embeddings"),
            "bos_token_id": config.token_id("bos_token_id"),
            "eos_token_ids": config.token_ids("eos_token_id"),
            "rotaries": switches["rotaries"] if "rotaries" in switches else (rotary(config, head_dim),),
            "layer_rotary": (0,) * layers,
            "layer_windows": windows(config),
            "activation": activation(config),
            **switches,
        }
    )
