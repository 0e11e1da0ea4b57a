"""A config.json read by transformers' own configuration class; runs in the process of edgesw.checkpoint.hf_reader."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

# Keys of older versions, and keys that a model class reads although its configuration class does not declare them.
_UNDECLARED = (
    "head_dim",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "rope_local_base_freq",
    "rope_scaling",
    "rope_theta",
    "sliding_window_pattern",
)


def import_transformers() -> None:
    """Imports what reading needs: not to be counted as the time that a configuration takes."""
    from transformers import CONFIG_MAPPING, PreTrainedConfig  # noqa: F401


def read_config(config: Mapping[str, Any], model_type: str) -> dict[str, Any]:
    """The attributes of transformers' configuration object for these values, by name, defaults filled in.

    Raises what transformers raises for values that it refuses.
    """
    from transformers import CONFIG_MAPPING, PreTrainedConfig

    kind = CONFIG_MAPPING[model_type]
    common = {each.name for each in dataclasses.fields(PreTrainedConfig)}
    names = {each.name for each in dataclasses.fields(kind)} - common
    read = kind(**{key: config[key] for key in sorted({*names, *_UNDECLARED}) if key in config})
    read.standardize_rope_params()  # once more, as its models do: then it sees undeclared keys too
    values = {name: getattr(read, name) for name in sorted({*names, *_UNDECLARED}) if hasattr(read, name)}
    return {name: value for name, value in values.items() if value is not None or name in names}
