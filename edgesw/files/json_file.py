"""JSON files: read strictly, because they may come from anywhere, and written so that every reader accepts them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

# Deeper than any file that edgesw or the libraries around the hub write. Code that walks a value must not run out of
# stack.
DEEPEST = 100


def read_json(path: Path) -> Any:
    """The content of a file. ValueError if it is not JSON or is nested too deep, OSError if it cannot be read."""
    return parse_json(path.read_bytes())


def parse_json(text: bytes) -> Any:
    """The value of a text. ValueError as for `read_json`."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level if isinstance(outer, (dict, list)) for inner in _children(outer)]
        if not level:
            return value
    raise ValueError("nested too deep")


def json_text(value: Any) -> str:
    """The value as indented JSON, with null for NaN and infinity."""
    return json.dumps(finite_or_none(value), indent=2, allow_nan=False)


def finite_or_none(value: Any) -> Any:
    """The value with every NaN and infinity in it replaced by None, because JSON has no words for them."""
    if isinstance(value, dict):
        return {key: finite_or_none(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_or_none(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _children(outer: dict[str, Any] | list[Any]) -> list[Any]:
    return list(outer.values()) if isinstance(outer, dict) else outer
