"""Config: checked access to a config.json. A missing or senseless value becomes a one-line error naming the key."""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from edgesw.errors import CheckpointError, UnsupportedError

Choice = TypeVar("Choice")
MOST_LAYERS = 1000
AGAIN = "Correct it or download the file again"


class Config:
    """The values of a config.json, as transformers' configuration class completes them.

    Getters raise CheckpointError naming file and key; `only` raises UnsupportedError for a setting that edgesw does
    not implement.
    """

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        self.where = where
        self._values = values

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
        return self.size("num_hidden_layers", limit=MOST_LAYERS)

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number above zero; `default` where the key is absent or null."""
        value: Any = self._values.get(key)
        if value is None and default is not None:
            return default
        if not _positive(value):
            raise self.wrong(key, "must be a number above zero")
        return float(value)

    def optional_number(self, key: str, *, zero: bool = False) -> float | None:
        """A finite number above zero, or zero too where that is allowed; None where the key is absent or null."""
        if zero and self._values.get(key) in (0, 0.0):
            return 0.0
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

    def choice(self, key: str, choices: Mapping[str, Choice]) -> Choice:
        """What `choices` has for the value of a key. UnsupportedError for any other value."""
        value = self._values.get(key)
        if not isinstance(value, str) or value not in choices:
            known = ", ".join(map(repr, choices))
            raise UnsupportedError(
                f"{self.where}: '{key}' is {reprlib.repr(value)}; edgesw supports only {known}: use another model."
            )
        return choices[value]

    def token_id(self, key: str) -> int | None:
        """One token id; None where the key is absent, null or negative."""
        ids = self.token_ids(key)
        if len(ids) > 1:
            raise self.wrong(key, "must be one token id")
        return ids[0] if ids else None

    def token_ids(self, key: str) -> tuple[int, ...]:
        """Token ids, given in the config as a single number, a list, or null for none. Negative ones mean none."""
        value = self._values.get(key)
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if not all(type(number) is int and -(2**31) <= number < 2**31 for number in ids):
            raise self.wrong(key, "must be a token id or a list of token ids")
        return tuple(number for number in ids if number >= 0)

    def rope(self, layer_type: str | None = None) -> RopeTable:
        """The config's RoPE settings: its `rope_parameters`, or those in it for layers of `layer_type`."""
        rope = self._values.get("rope_parameters")
        if layer_type is not None and isinstance(rope, dict):
            rope = rope.get(layer_type)
        if not isinstance(rope, dict):
            raise self.wrong("rope_parameters", "must be an object" + (f" with a '{layer_type}'" if layer_type else ""))
        positions = {"max_position_embeddings": self._values.get("max_position_embeddings")}
        return RopeTable(self.where, {**positions, **rope})

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
        """The type of scaling."""
        kind = self._values.get("rope_type", "default")
        if not isinstance(kind, str):
            raise self.wrong("rope_type", "must be a string")
        return kind

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
