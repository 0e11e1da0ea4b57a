"""Writes the golden files of EdgeSWKit's tests: python scripts/swift_goldens FOLDER. scripts/swift-test.sh calls it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

MODULES = ("make_tokenizers", "make_package", "samplers", "generation", "chats")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/swift_goldens FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    root = Path(__file__).parents[2]  # edgesw itself, if it is not installed, and the tests' helpers
    sys.path[:0] = map(str, (root, root / "tests" / "helpers"))
    for name in MODULES:
        importlib.import_module(name).make(folder)


if __name__ == "__main__":
    main()
