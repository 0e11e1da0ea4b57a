"""Fields: a mapping in a recipe's YAML, read strictly, so that an unknown key is an error."""

from __future__ import annotations

import math
from collections.abc import Set
from typing import Any

from edgesw.errors import EdgeswError


class Fields:
    """A mapping in a recipe with checked keys, and getters that check its values.

    Every mistake raises an EdgeswError that names the file and the key.
    """

    def __init__(
        self, file: str, prefix: str, values: Any, *, required: set[str], optional: Set[str] = frozenset()
    ) -> None:
        self._file, self._prefix = file, prefix
        if not isinstance(values, dict):
            raise EdgeswError(f"recipe {file}: {prefix.rstrip('.') or 'the file'} must be a mapping of keys to values")
        for key in values:
            if key not in required | optional:
                raise self.wrong(key, f"is not a known key: {', '.join(sorted(required | optional))}")
        for key in sorted(required - values.keys()):
            raise self.wrong(key, "is missing")
        self._values = values

    def wrong(self, key: object, why: str) -> EdgeswError:
        """The error for an invalid value."""
        return EdgeswError(f"recipe {self._file}: '{self._prefix}{key}' {why}")

    def text(self, key: str, default: str | None = None) -> str:
        """A string, which may be blank only where there is a default."""
        value = self._values.get(key, default)
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self.wrong(key, "must be a string")
        return value

    def items(self, key: str) -> list[Any]:
        """A list; empty if the key is missing."""
        value = self._values.get(key, [])
        if not isinstance(value, list):
            raise self.wrong(key, "must be a list")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings, none of them empty."""
        items = self.items(key)
        if not all(isinstance(item, str) and item for item in items):
            raise self.wrong(key, "must be a list of strings")
        return tuple(items)

    def positive(self, key: str) -> float:
        """A number above 0."""
        value = self._values[key]
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise self.wrong(key, "must be a number above 0")
        return float(value)

    def coordinates(self, key: str, value: Any) -> tuple[int, int, int]:
        """[layer, row, column]."""
        whole = isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)
        if not whole or len(value) != 3:
            raise self.wrong(key, "must hold [layer, row, column], integers from 0")
        return value[0], value[1], value[2]
