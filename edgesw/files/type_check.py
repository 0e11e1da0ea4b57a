"""Builds dataclasses from JSON values by their type hints: a value of another type is an error that names its key."""

from __future__ import annotations

import math
import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def structure(kind: type[T], value: Any, key: str = "") -> T:
    """Builds the dataclass `kind` from a JSON object, tuples from lists and nested dataclasses included.

    A whole number is a float too, and no number is infinite. Keys that the dataclass does not have, keys without a
    default that are missing, and values of another type raise ValueError, which names the key (`key` is the one that
    holds the object itself).
    """
    if not isinstance(value, dict):
        raise ValueError(f"'{key}' is not an object" if key else "it is not an object")
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind) if field.init}  # type: ignore[arg-type]
    for name in value.keys() - known.keys():
        raise ValueError(f"'{_inner(key, name)}' is not a known key")
    made = {}
    for name, field in known.items():
        if name in value:
            made[name] = _convert(hints[name], value[name], _inner(key, name))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"'{_inner(key, name)}' is missing")
    return kind(**made)


def _inner(key: str, name: Any) -> str:
    return f"{key}.{name}" if key else str(name)


def _convert(hint: Any, value: Any, key: str) -> Any:
    """The value as the type hint wants it. ValueError where it is of another type."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if is_dataclass(hint) and isinstance(hint, type):
        return structure(hint, value, key)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        kinds = [each for each in inner if each is not type(None)]
        for each in kinds[:-1]:
            try:
                return _convert(each, value, key)
            except ValueError:
                continue
        return _convert(kinds[-1], value, key)
    if origin is Literal and any(value == each and type(value) is type(each) for each in inner):
        return value
    if origin in (tuple, list) and isinstance(value, (list, tuple)):
        if origin is list or inner[-1] is Ellipsis:
            return origin(_convert(inner[0], each, key) for each in value)
        if len(inner) == len(value):
            return tuple(_convert(kind, each, key) for kind, each in zip(inner, value, strict=True))
    if origin is dict and isinstance(value, dict):
        return {_convert(inner[0], k, key): _convert(inner[1], v, _inner(key, k)) for k, v in value.items()}
    if hint is float and (type(value) is int or (type(value) is float and math.isfinite(value))):
        return value
    if origin is None and isinstance(hint, type) and type(value) is hint:
        return value
    raise ValueError(f"'{key}' is not what it should be")
