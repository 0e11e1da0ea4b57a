"""config.json, read with care: a missing or senseless value becomes one line that names the key."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from typing import Any

from edgesw.errors import CheckpointError, UnsupportedError


class Config:
    """The values of a config.json over a family's defaults.

    Getters raise CheckpointError naming file and key; `only` and `rope_theta` raise UnsupportedError for a switch set
    to something edgesw does not do.
    """

    def __init__(self, where: str, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self._where = where
        self._values = {**defaults, **values}

    def size(self, key: str, default: int | None = None, limit: int = 2**31 - 1) -> int:
        """A whole number from 1 to `limit`. `default` stands for a key that is absent or null."""
        value = self._values.get(key)
        if value is None and default is not None:
            return default
        if type(value) is not int or not 1 <= value <= limit:
            raise self.wrong(key, f"must be a whole number from 1 to {limit}")
        return value

    def number(self, key: str) -> float:
        """A finite number above zero."""
        return self._positive(key, self._values.get(key))

    def flag(self, key: str) -> bool:
        value = self._values.get(key)
        if not isinstance(value, bool):
            raise self.wrong(key, "must be true or false")
        return value

    def only(self, key: str, allowed: Any) -> None:
        """Refuse any value but this one; null or absent is taken for it."""
        value = self._values.get(key)
        if value is not None and value != allowed:
            found = reprlib.repr(value)
            raise UnsupportedError(f"{self._where}: '{key}' is {found}; edgesw supports {allowed!r} only, so far")

    def token_id(self, key: str) -> int | None:
        ids = self.token_ids(key)
        if len(ids) > 1:
            raise self.wrong(key, "must be one token id")
        return ids[0] if ids else None

    def token_ids(self, key: str) -> tuple[int, ...]:
        """Token ids, given as one number, a list of them, or null for none."""
        value = self._values.get(key)
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if not all(type(number) is int and number >= 0 for number in ids):
            raise self.wrong(key, "must be a token id or a list of them")
        return tuple(ids)

    def rope_theta(self) -> float:
        """Base of the rotary frequencies.

        transformers 5 writes `rope_parameters: {rope_theta, rope_type}`, older ones `rope_theta` and `rope_scaling`.
        """
        theta = self._values.get("rope_theta")
        for key in ("rope_scaling", "rope_parameters"):
            rope = self._values.get(key) or {}
            if not isinstance(rope, dict):
                raise self.wrong(key, "must be a table or null")
            kind = rope.get("rope_type", rope.get("type", "default"))
            if kind != "default":
                raise UnsupportedError(f"{self._where}: rope type '{kind}' ({key}) is not supported, only 'default'")
            theta = rope.get("rope_theta", theta)
        return self._positive("rope_theta", theta)

    def divides(self, divisor: str, key: str) -> int:
        """How many times the size `divisor` goes into the size `key`."""
        if self.size(key) % self.size(divisor):
            raise self.wrong(key, f"must be a multiple of '{divisor}', {self.size(divisor)}")
        return self.size(key) // self.size(divisor)

    def wrong(self, key: str, why: str) -> CheckpointError:
        """The error for a value that is missing or makes no sense. `why` says what it must be."""
        if self._values.get(key) is None:
            return CheckpointError(f"{self._where}: '{key}' is missing ({why})")
        return CheckpointError(f"{self._where}: '{key}' is {reprlib.repr(self._values[key])}; it {why}")

    def _positive(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
            raise self.wrong(key, "must be a number above zero")
        return float(value)
