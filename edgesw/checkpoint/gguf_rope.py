"""Reads RoPE settings from the metadata and tensors of a GGUF file."""

from __future__ import annotations

import math
from typing import Any

from edgesw.checkpoint.gguf import GgufReader
from edgesw.families.family import GgufValue

# Divisors of the frequencies, one per pair of channels. llama.cpp computes those of Llama 3 when it converts.
_FACTORS, _LONG, _SHORT = "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"

_SCALING = {
    "rope.scaling.factor": "factor",
    "rope.scaling.original_context_length": "original_max_position_embeddings",
    "rope.scaling.yarn_beta_fast": "beta_fast",
    "rope.scaling.yarn_beta_slow": "beta_slow",
}


def rope_settings(reader: GgufReader, value: GgufValue, head_dim: object) -> dict[str, Any]:
    """The `rope_parameters` of a config.json, and `partial_rotary_factor` where only part of each head is rotated.

    The type is one of transformers', or "factors", for which `factors` lists the divisors of the frequencies, one per
    pair of channels.
    """
    rope = _scaled(reader, value)
    if value("rope.freq_base") is not None:
        rope["rope_theta"] = value("rope.freq_base")
    found: dict[str, Any] = {"rope_parameters": rope}
    if "original_max_position_embeddings" in rope:  # for Phi-3's configuration class the outer one counts
        found["original_max_position_embeddings"] = rope["original_max_position_embeddings"]
    rotated = value("rope.dimension_count")
    if type(rotated) is type(head_dim) is int and head_dim > 0 and rotated != head_dim:
        found["partial_rotary_factor"] = rotated / head_dim
    return found


def _scaled(reader: GgufReader, value: GgufValue) -> dict[str, Any]:
    scaling = {name: value(key) for key, name in _SCALING.items() if value(key) is not None}
    attention = value("rope.scaling.attn_factor")
    if _FACTORS in reader.names():
        return {"rope_type": "factors", "factors": reader.read(_FACTORS).tolist()}
    if {_LONG, _SHORT} & reader.names():
        tables = {"long_factor": _LONG, "short_factor": _SHORT}
        lists = {name: reader.read(tensor).tolist() for name, tensor in tables.items() if tensor in reader.names()}
        factor = {} if attention is None else {"attention_factor": attention}
        return {"rope_type": "longrope", **scaling, **lists, **factor}
    kind = value("rope.scaling.type") or "none"
    if kind == "none":
        # Files older than this key have only the factor.
        scale = value("rope.scale_linear")
        return {"rope_type": "default"} if scale in (None, 1.0) else {"rope_type": "linear", "factor": scale}
    if kind == "yarn" and type(attention) is float and type(scaling.get("factor")) is float and scaling["factor"] > 0:
        # llama.cpp multiplies this by YaRN's own scale; transformers expects the product.
        scaling["attention_factor"] = attention * (0.1 * math.log(scaling["factor"]) + 1)
    return {"rope_type": kind, **scaling}
