"""JSON that comes from anywhere, read so that nothing in it ends in more than a ValueError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# Deeper than any file of ours or others' is. What walks a value later must not run out of stack.
DEEPEST = 100


def read_json(path: Path) -> Any:
    """The content of a file. ValueError for what is no JSON or nested too deep, OSError for what cannot be read."""
    return parse_json(path.read_bytes())


def parse_json(text: bytes) -> Any:
    """The value of a text. ValueError as for `read_json`."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level if isinstance(outer, (dict, list)) for inner in _inside(outer)]
        if not level:
            return value
    raise ValueError("nested too deep")


def _inside(outer: dict[str, Any] | list[Any]) -> list[Any]:
    return list(outer.values()) if isinstance(outer, dict) else outer
