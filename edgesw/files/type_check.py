"""Values out of a file against the type hints of the dataclass that they are meant for."""

from __future__ import annotations

import math
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def misfits(value: Any) -> Iterator[str]:
    """The names of the fields of a dataclass whose values are not what their hints say, those of inner ones too."""
    hints = get_type_hints(type(value))
    for field in fields(value):
        if not fits(getattr(value, field.name), hints[field.name]):
            yield field.name


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type: of those that JSON has, of tuples, or of dataclasses of such. A whole number is a
    float too; no number is infinite."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return any(value == each and type(value) is type(each) for each in inner)
    if origin in (Union, types.UnionType):
        return any(fits(value, each) for each in inner)
    if origin in (tuple, list):
        each = inner[0]
        counted = origin is list or inner[-1] is Ellipsis or len(inner) == len(value)
        return isinstance(value, origin) and counted and all(fits(item, each) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
    if is_dataclass(hint):
        return isinstance(value, hint) and not any(misfits(value))  # type: ignore[arg-type]
    if hint is float:
        return type(value) is int or (type(value) is float and math.isfinite(value))
    return type(value) is hint
