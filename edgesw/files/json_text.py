"""JSON as every reader takes it."""

from __future__ import annotations

import json
import math
from typing import Any


def json_text(values: Any) -> str:
    """Indented JSON; a figure that is infinite or not a number is null, as JSON has no word for it."""
    return json.dumps(_plain(values), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
