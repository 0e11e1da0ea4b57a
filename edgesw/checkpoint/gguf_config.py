"""What config.json would say, from the metadata of a GGUF file."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgesw.checkpoint.families import Family
from edgesw.checkpoint.gguf import GgufReader
from edgesw.checkpoint.gguf_vocabulary import eos_ids, special_id
from edgesw.errors import UnsupportedError

# metadata key after "<architecture>." -> key in config.json
_KEYS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "context_length": "max_position_embeddings",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
}


def config_from_gguf(reader: GgufReader, family: Family) -> dict[str, Any]:
    """A config.json as transformers would write it, and take it. UnsupportedError for a mixture of experts."""
    metadata = reader.metadata

    def value(key: str) -> Any:
        return metadata.get(f"{family.gguf}.{key}")

    if value("expert_count"):
        raise UnsupportedError(f"{reader.path}: a mixture of experts ({value('expert_count')}) is not supported")
    config: dict[str, Any] = {"architectures": [family.architectures[0]], "model_type": family.model_type}
    config |= {name: _plain(value(key)) for key, name in _KEYS.items() if value(key) is not None}
    config["tie_word_embeddings"] = family.tensors["lm_head"].gguf not in reader.names()
    config["vocab_size"] = _vocab_size(reader, family)
    config["bos_token_id"] = special_id(metadata, "bos")
    config["eos_token_id"] = eos_ids(metadata)
    if metadata.get("tokenizer.ggml.padding_token_id") is not None:
        config["pad_token_id"] = metadata["tokenizer.ggml.padding_token_id"]
    config |= _rope(reader, value, config)
    return config


def _rope(reader: GgufReader, value: Any, config: dict[str, Any]) -> dict[str, Any]:
    kind = value("rope.scaling.type") or "none"
    if "rope_freqs.weight" in reader.names():
        kind = "llama3"  # llama.cpp keeps these frequencies as a tensor
    rope: dict[str, Any] = {"rope_type": "default" if kind == "none" else kind}
    if "rope_theta" in config:
        rope["rope_theta"] = config["rope_theta"]
    found: dict[str, Any] = {"rope_parameters": rope}
    rotated, heads, hidden = value("rope.dimension_count"), value("attention.head_count"), value("embedding_length")
    if type(rotated) is int and type(heads) is int and type(hidden) is int and heads > 0:
        head_dim = config.get("head_dim") or hidden // heads
        if head_dim and rotated != head_dim:
            found["partial_rotary_factor"] = rotated / head_dim
    return found


def _vocab_size(reader: GgufReader, family: Family) -> int:
    embedding = family.tensors["embed_tokens"].gguf
    if embedding in reader.names():
        return reader.shape(embedding)[0]  # may be padded beyond the tokenizer's tokens
    return len(reader.metadata.get("tokenizer.ggml.tokens", ()))


def _plain(value: Any) -> Any:
    """A float32 as the shortest number that stands for it: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value))) if isinstance(value, float) else value
