"""Golden files for EdgeSWKit's tests: python scripts/swift_goldens FOLDER. scripts/swift-test.sh calls it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/swift_goldens FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(HERE.parents[1]))  # edgesw, where it is not installed
    for path in sorted(HERE.glob("*.py")):
        module = importlib.import_module(path.stem) if path.stem != "__main__" else None
        if module is not None and hasattr(module, "make"):
            module.make(folder)


if __name__ == "__main__":
    main()
