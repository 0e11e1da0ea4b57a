"""The rooms of the library: each folder imports only from the rooms before it, in the order that docs/architecture.md
states. With an import that runs up, a stranger can no longer read the library from the left."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgesw

LIBRARY = Path(edgesw.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"
ROOT = ("errors", "progress")
"""The modules at the package's root, which every room may use."""


def stated_order() -> list[str]:
    (line,) = re.findall(r"^Order of the rooms: (.*)\.$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [*ROOT, *(room for room in line.split(", ") if room not in ROOT)]


def imports(source: str) -> Iterator[str]:
    """The modules of edgesw that a module imports anywhere in it, functions and type checking included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from [node.module] if node.module.startswith("edgesw.") else []
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("edgesw."))


def runs_up(room: str, source: str, order: list[str]) -> list[str]:
    """The imports of a module of `room` that lead to a later room or to one without a place."""
    rooms = [(module, module.split(".")[1]) for module in imports(source)]
    place = order.index(room)
    return [module for module, to in rooms if to != room and (to not in order or order.index(to) > place)]


MODULES = sorted(path for path in LIBRARY.rglob("*.py") if path != LIBRARY / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_imports_run_from_right_to_left(path: Path) -> None:
    room = path.relative_to(LIBRARY).parts[0].removesuffix(".py")
    assert runs_up(room, path.read_text(encoding="utf-8"), stated_order()) == []


def test_every_room_has_a_place_and_no_place_is_empty() -> None:
    """A room that the page does not list is a room that nobody is told to keep in order."""
    rooms = {path.name for path in LIBRARY.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert sorted([*ROOT, *rooms]) == sorted(stated_order())


def test_only_what_every_room_uses_is_at_the_root() -> None:
    assert {path.stem for path in LIBRARY.glob("*.py")} == {"__init__", *ROOT}


def test_relative_imports_do_not_hide_an_arrow() -> None:
    for path in MODULES:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        assert not any(isinstance(node, ast.ImportFrom) and node.level for node in nodes), path


@pytest.mark.parametrize(
    "source",
    [
        "from edgesw.cli.tables import inform",
        "import edgesw.cli.tables",
        "def late():\n    from edgesw.cli.tables import inform",
        "from edgesw.nowhere import something",
    ],
)
def test_an_import_that_runs_up_is_found(source: str) -> None:
    """Otherwise the tests above could not fail."""
    assert runs_up("files", source, stated_order())
    assert runs_up("files", "from edgesw.errors import EdgeswError", stated_order()) == []
