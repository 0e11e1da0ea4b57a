"""JSON text that other programs read."""

from __future__ import annotations

import json
import math

from edgesw.files.json_file import json_text


def test_a_figure_that_json_cannot_write_is_null() -> None:
    """Python would write NaN and Infinity, which other JSON readers refuse, and the other figures would be lost too."""
    value = {"kl": math.nan, "rows": [1.5, (math.inf, "text")], "passed": False, "runs": 3, "inner": {"x": -math.inf}}
    expected = {"kl": None, "rows": [1.5, [None, "text"]], "passed": False, "runs": 3, "inner": {"x": None}}
    assert json.loads(json_text(value)) == expected
