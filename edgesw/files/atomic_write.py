"""Files that appear at their final paths only when complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged(*finals: Path) -> Iterator[list[Path]]:
    """Paths beside the final ones, to be written within the block. They take the final ones' places, over what is
    there, when it ends; nothing is left of them when it fails."""
    partial = [final.with_name(f".{final.name}.{os.getpid()}.partial") for final in finals]
    try:
        yield partial
        for made, final in zip(partial, finals, strict=True):
            made.replace(final)
    finally:
        for made in partial:
            made.unlink(missing_ok=True)
