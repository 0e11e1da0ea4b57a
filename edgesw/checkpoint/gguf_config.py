"""Builds the config.json of a model from the metadata of its GGUF file."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np

from edgesw.checkpoint.gguf import GgufReader
from edgesw.checkpoint.gguf_rope import rope_settings
from edgesw.checkpoint.gguf_vocabulary import eos_ids, special_id
from edgesw.errors import UnsupportedError
from edgesw.families.family import Family, GgufValue

# metadata key after "<architecture>." -> key in config.json
_KEYS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.clamp_kqv": "clip_qkv",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "context_length": "max_position_embeddings",
    "rope.freq_base": "rope_theta",
}
# Further keys that are read, here or with the RoPE settings, and keys that change no logits.
_READ = (
    "attention.key_length", "attention.value_length", "attention.sliding_window", "attention.sliding_window_pattern",
    "expert_count", "rope.dimension_count", "rope.freq_base_swa", "rope.scale_linear", "rope.scaling.attn_factor",
    "rope.scaling.factor", "rope.scaling.original_context_length", "rope.scaling.type", "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
)  # fmt: skip
_WITHOUT_EFFECT = ("expert_used_count", "pooling_type", "rope.scaling.finetuned", "tensor_data_layout", "vocab_size")
# Keys that state what is so anyway, with the value that is. OLMo's layer norms have the epsilon of its own config.
_NEUTRAL = {
    "attention.causal": True,
    "attention.layer_norm_epsilon": 1e-5,
    "rope.scaling.yarn_attn_factor": 1.0,
    "rope.scaling.yarn_ext_factor": 1.0,
}
_HEAD_SIZES = ("attention.key_length_swa", "attention.value_length_swa", "rope.dimension_count_swa")


def config_from_gguf(reader: GgufReader, family: Family) -> dict[str, Any]:
    """A config.json as transformers writes and reads it, except for the RoPE type "factors" (see `rope_settings`).

    Raises UnsupportedError for a mixture of experts, and for settings that no supported family has.
    """
    metadata = reader.metadata

    def value(key: str) -> Any:
        return _plain(metadata.get(f"{family.gguf}.{key}"))

    if value("expert_count"):
        raise UnsupportedError(
            f"{reader.path}: a mixture of experts ({value('expert_count')}) is not supported: use a dense model."
        )
    _refuse_unknown(reader, family, value)
    config: dict[str, Any] = {"architectures": [family.architecture], "model_type": family.model_type}
    config |= {name: value(key) for key, name in _KEYS.items() if value(key) is not None}
    config["tie_word_embeddings"] = family.tensors["lm_head"].gguf not in reader.names()
    config["vocab_size"] = _vocab_size(reader, family)
    config["bos_token_id"] = special_id(metadata, "bos")
    config["eos_token_id"] = eos_ids(metadata)
    if metadata.get("tokenizer.ggml.padding_token_id") is not None:
        config["pad_token_id"] = metadata["tokenizer.ggml.padding_token_id"]
    for switch, tensor in {"attention_bias": "attn_output", "mlp_bias": "ffn_down"}.items():
        if f"blk.0.{tensor}.bias" in reader.names():
            config[switch] = True
    config |= _attention(reader, value)
    config |= rope_settings(reader, value, config.get("head_dim"))
    try:
        config |= family.gguf_settings(config, value)
    except UnsupportedError as error:
        raise UnsupportedError(f"{reader.path}: {error}") from None
    if "partial_rotary_factor" in config and family.tensors["layers.{layer}.q_proj"].gguf_interleaved:
        # The conventions do not say which rows alternate then.
        rotated, head_dim = value("rope.dimension_count"), config["head_dim"]
        raise UnsupportedError(
            f"{reader.path}: only part of each head is rotated ({rotated} of {head_dim} channels); from a GGUF of "
            f"architecture '{family.gguf}' that is not supported: use the safetensors checkpoint."
        )
    return config


def _refuse_unknown(reader: GgufReader, family: Family, value: GgufValue) -> None:
    """Raises UnsupportedError for a setting that is not read and says something: it may change the logits."""
    head_dim = value("attention.key_length") or _head_dim(value)
    neutral = {**_NEUTRAL, **dict.fromkeys(_HEAD_SIZES, head_dim)}
    prefix = f"{family.gguf}."
    for key in sorted(reader.metadata):
        name = key.removeprefix(prefix)
        if name == key or name in (*_KEYS, *_READ, *_WITHOUT_EFFECT):
            continue
        if (found := value(name)) and found != neutral.get(name):
            raise UnsupportedError(
                f"{reader.path}: '{key}' is {reprlib.repr(found)}; that is not supported: use another model."
            )


def _attention(reader: GgufReader, value: GgufValue) -> dict[str, Any]:
    """The sizes of heads, and the window."""
    found: dict[str, Any] = {}
    if head_dim := value("attention.key_length") or _head_dim(value):
        found["head_dim"] = head_dim
        if value("attention.value_length") not in (None, head_dim):
            raise UnsupportedError(
                f"{reader.path}: value heads do not have the size of key heads, {head_dim}: use another model."
            )
    if (window := value("attention.sliding_window")) is not None:
        found["sliding_window"] = window or None  # some files write 0 for none
    return found


def _head_dim(value: GgufValue) -> int | None:
    """hidden_size / heads; None where that is not an integer, which the family's own check reports."""
    hidden, heads = value("embedding_length"), value("attention.head_count")
    whole = type(hidden) is int and type(heads) is int and heads > 0 and hidden % heads == 0
    return hidden // heads if whole else None


def _vocab_size(reader: GgufReader, family: Family) -> int:
    embedding = family.tensors["embed_tokens"].gguf
    if embedding in reader.names():
        return reader.shape(embedding)[0]  # may be padded beyond the tokenizer's vocabulary
    tokens = reader.metadata.get("tokenizer.ggml.tokens")
    return len(tokens) if isinstance(tokens, list) else 0


def _plain(value: Any) -> Any:
    """A float32 as the shortest decimal that rounds to it: 1e-05, not 9.999999747378752e-06."""
    with np.errstate(over="ignore"):
        return float(str(np.float32(value))) if isinstance(value, float) else value
