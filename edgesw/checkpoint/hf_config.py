"""Reads a config.json as transformers does: its own configuration class fills in what the file leaves out.

Files of transformers 4 and 5 state RoPE settings in different places, leave out what equals a default, and derive some
keys from others. The classes that know all of that are transformers' own; they hold no weights and run no code of the
checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgesw.checkpoint.hf_reader import READER
from edgesw.errors import CheckpointError, UnsupportedError
from edgesw.families.config import AGAIN, Config
from edgesw.families.family import Family
from edgesw.system.bounded_process import Failed, Overrun

SECONDS, MEMORY = 30.0, 1 << 30
"""What reading a config.json may take: it takes milliseconds."""

# Sizes that are checked before transformers computes with them; the last two may be null.
_SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "max_position_embeddings",
    "num_key_value_heads", "head_dim",
)  # fmt: skip
_ROPE = ("rope_parameters", "rope_scaling")
# Keys that make another model of the same tensors, whatever the family, with the values that do not.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "is_causal": (True,),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "use_bidirectional_attention": (False,),
    "quantization_config": ({},),
    "compression_config": ({},),
    "per_layer_config": ({},),
    "transformers_weights": (),
}
_QUANTIZED = ("quantization_config", "compression_config")


def normalized_config(config: Mapping[str, Any], family: Family, where: str) -> dict[str, Any]:
    """The values of a config.json as transformers' configuration class of the family holds them, by key: defaults
    filled in, `layer_types` for each layer, and all RoPE settings in `rope_parameters`, by layer type where the class
    keeps them so. Keys that the class does not know are left out. `where` names the file in errors.

    Raises CheckpointError for values that transformers refuses, UnsupportedError for a key that makes another model
    than the family's decoder.
    """
    _check(config, where)
    known = _read(config, family, where)
    rope = known.get("rope_parameters") or {}
    partial = next(
        (each["partial_rotary_factor"] for each in (rope, *rope.values())
         if isinstance(each, dict) and each.get("partial_rotary_factor") not in (None, 1)), None,
    )  # fmt: skip
    if partial is not None and not family.partial_rotary:
        raise UnsupportedError(
            f"{where}: 'partial_rotary_factor' is {partial!r}, but transformers' '{family.model_type}' models rotate "
            "whole heads: use another model."
        )
    types = config.get("layer_types")
    if "layer_types" not in known and types is not None:  # this family's layers are all alike
        alike = "full_attention" if known.get("sliding_window") is None else "sliding_attention"
        if not isinstance(types, list) or set(map(str, types)) - {alike}:
            raise UnsupportedError(
                f"{where}: 'layer_types' names layers other than '{alike}', but transformers gives all layers of a "
                f"'{family.model_type}' model the same attention: correct 'model_type' or 'layer_types'."
            )
    return known


def _check(config: Mapping[str, Any], where: str) -> None:
    """Raises for keys that no family's decoder implements, and for sizes that would take all memory to fill in."""
    for key, allowed in _NEUTRAL.items():
        value = config.get(key)
        if value is not None and value not in allowed:
            if key in _QUANTIZED:
                raise UnsupportedError(
                    f"{where}: '{key}' says that the weights are quantized already{_method(value)}: use the original "
                    "model, in float16, bfloat16 or float32."
                )
            Config(where, config).only(key, allowed[0] if allowed else None)
    if config.get("num_hidden_layers") is not None:
        Config(where, config).layers()
    for key in _SIZES:
        Config(where, config).size(key, default=1)
    for key in _ROPE:
        rope = config.get(key)
        nested = rope.values() if isinstance(rope, dict) else ()
        for each in (rope, *nested):
            if isinstance(each, dict) and each.get("llama_4_scaling_beta"):
                raise UnsupportedError(
                    f"{where}: '{key}' has 'llama_4_scaling_beta', which is not supported: use another model."
                )


def _method(value: Any) -> str:
    method = value.get("quant_method") if isinstance(value, dict) else None
    return f" ({method})" if isinstance(method, str) and method.isidentifier() else ""


def _read(config: Mapping[str, Any], family: Family, where: str) -> dict[str, Any]:
    """The attributes of transformers' configuration object for this file."""
    for key in _ROPE:
        if config.get(key) and not isinstance(config[key], dict):
            raise Config(where, config).wrong(key, "must be an object")
    given = {"config": dict(config), "model_type": family.model_type}
    try:
        read, _ = READER.ask("config", given, seconds=SECONDS, memory=MEMORY, most=MEMORY)
    except Overrun as error:
        raise CheckpointError(f"{where}: reading it with transformers {error}. {AGAIN}.") from error
    except Failed as error:  # transformers' classes raise errors of many kinds
        raise CheckpointError(f"{where}: transformers refuses it: {str(error).rstrip('.')}. {AGAIN}.") from error
    return dict(read)
