"""Config: checked access to a config.json. A missing or senseless value becomes a one-line error naming the key."""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgesw.errors import CheckpointError, UnsupportedError

AGAIN = "Correct it or download the file again"


class Config:
    """The values of a config.json over a family's defaults.

    Getters raise CheckpointError naming file and key; `only` raises UnsupportedError for a setting that edgesw does
    not implement.
    """

    def __init__(self, where: str, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self.where = where
        self._values = {**defaults, **values}

    def size(self, key: str, default: int | None = None, limit: int = 2**31 - 1) -> int:
        """An integer from 1 to `limit`; `default` where the key is absent or null."""
        value = self._values.get(key)
        if value is None and default is not None:
            return default
        if type(value) is not int or not 1 <= value <= limit:
            raise self.wrong(key, f"must be an integer from 1 to {limit}")
        return value

    def layers(self) -> int:
        """The number of layers."""
        return self.size("num_hidden_layers", limit=1000)

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number above zero; `default` where the key is absent or null."""
        value: Any = self._values.get(key)
        if value is None and default is not None:
            return default
        if not _positive(value):
            raise self.wrong(key, "must be a number above zero")
        return float(value)

    def optional_number(self, key: str) -> float | None:
        """A finite number above zero; None where the key is absent or null."""
        return None if self.absent(key) else self.number(key)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or false; `default` where the key is absent or null."""
        value = default if self.absent(key) else self._values[key]
        if not isinstance(value, bool):
            raise self.wrong(key, "must be true or false")
        return value

    def absent(self, key: str) -> bool:
        """Whether a key is absent or null."""
        return self._values.get(key) is None

    def only(self, key: str, allowed: Any) -> None:
        """Raises UnsupportedError for any value but `allowed`; an absent or null key passes."""
        value = self._values.get(key)
        if value is not None and value != allowed:
            known = "edgesw does not support that" if allowed is None else f"edgesw supports only {allowed!r}"
            raise UnsupportedError(f"{self.where}: '{key}' is {reprlib.repr(value)}; {known}: use another model.")

    def token_id(self, key: str) -> int | None:
        """One token id; None where the key is absent or null."""
        ids = self.token_ids(key)
        if len(ids) > 1:
            raise self.wrong(key, "must be one token id")
        return ids[0] if ids else None

    def token_ids(self, key: str) -> tuple[int, ...]:
        """Token ids, given in the config as a single number, a list, or null or -1 for none."""
        value = self._values.get(key)
        ids = [number for number in (value if isinstance(value, list) else [value]) if number not in (None, -1)]
        if not all(type(number) is int and 0 <= number < 2**31 for number in ids):
            raise self.wrong(key, "must be a token id or a list of token ids")
        return tuple(ids)

    def rope(self, layer_type: str | None = None) -> RopeTable:
        """The config's RoPE settings, for layers of `layer_type` where types differ.

        transformers 5 writes `rope_parameters: {rope_theta, rope_type, ...}`, or an object of such objects by layer
        type; older versions write `rope_theta` and `rope_scaling`. Where `rope_local_base_freq` gives layers with a
        window a theta of their own, `rope_scaling` applies only to the other layers.
        """
        local = layer_type == "sliding_attention" and self._values.get("rope_local_base_freq") is not None
        values = {"rope_theta": self._values.get("rope_local_base_freq" if local else "rope_theta")}
        values["partial_rotary_factor"] = self._values.get("partial_rotary_factor")
        for key in ("rope_parameters",) if local else ("rope_scaling", "rope_parameters"):
            rope = self._values.get(key) or {}
            if isinstance(rope, dict) and layer_type is not None and layer_type in rope:
                rope = rope[layer_type] or {}
            if not isinstance(rope, dict):
                raise self.wrong(key, "must be an object or null")
            values |= {name: value for name, value in rope.items() if value is not None}
        for key in ("max_position_embeddings", "original_max_position_embeddings"):
            if values.get(key) is None:
                values[key] = self._values.get(key)
        return RopeTable(self.where, values, {})

    def layer_list(self, key: str, layers: int) -> list[Any] | None:
        """A list with one entry per layer; None where the key is absent or null."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != layers:
            raise self.wrong(key, f"must be a list with one entry for each of the {layers} layers")
        return value

    def divides(self, divisor: str, key: str) -> int:
        """The size `key` divided by the size `divisor`, which must divide it."""
        if self.size(key) % self.size(divisor):
            raise self.wrong(key, f"must be a multiple of '{divisor}', {self.size(divisor)}")
        return self.size(key) // self.size(divisor)

    def wrong(self, key: str, why: str) -> CheckpointError:
        """The error for a missing or senseless value; `why` says what the value must be."""
        if self._values.get(key) is None:
            return CheckpointError(f"{self.where}: '{key}' is missing ({why}). {AGAIN}.")
        return CheckpointError(f"{self.where}: '{key}' is {reprlib.repr(self._values[key])}; it {why}. {AGAIN}.")


class RopeTable(Config):
    """The settings of a single rotary embedding."""

    @property
    def kind(self) -> str:
        """The type of scaling, by its current name in transformers."""
        kind = self._values.get("rope_type", self._values.get("type", "default"))
        if not isinstance(kind, str):
            raise self.wrong("rope_type", "must be a string")
        return "longrope" if kind == "su" else kind

    @property
    def theta(self) -> float:
        """The base of the frequencies."""
        return self.number("rope_theta")

    @property
    def partial(self) -> float:
        """The share of each head that is rotated."""
        return self.number("partial_rotary_factor", 1.0)

    @property
    def max_positions(self) -> float:
        return self.number("max_position_embeddings")

    @property
    def original_positions(self) -> float:
        """The context length of the original training, before the context was extended."""
        return self.number("original_max_position_embeddings", self.max_positions)

    def numbers(self, key: str, count: int) -> np.ndarray:
        """A list of `count` finite numbers above zero, float64."""
        value = self._values.get(key)
        if not isinstance(value, list) or len(value) != count or not all(map(_positive, value)):
            raise self.wrong(key, f"must be a list of {count} numbers above zero")
        return np.array(value, np.float64)


def _positive(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        return False
    return value <= sys.float_info.max
