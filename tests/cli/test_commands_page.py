"""docs/commands.md, which is made from --help."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from edgesw.cli.program import cli

SCRIPT = Path(__file__).parents[2] / "scripts" / "commands.py"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_the_page_is_what_the_commands_say(script: dict[str, Any]) -> None:
    """Whoever reads the documentation would type options that are no more, or never hear of new ones."""
    assert script["PAGE"].read_text(encoding="utf-8") == script["page"](), "run `make docs`"


def test_the_page_is_the_same_on_every_terminal(script: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the test above would fail in a terminal of another width than the one `make docs` last ran in."""
    before = script["page"]()
    for variable, value in {"COLUMNS": "40", "TERM": "xterm-256color", "FORCE_COLOR": "1"}.items():
        monkeypatch.setenv(variable, value)
    assert script["page"]() == before
    assert "\x1b" not in before
    assert all(f"\n## edgesw {name}\n" in before for name in cli.commands)
