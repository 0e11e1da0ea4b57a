"""Files that appear at their final paths only when complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def staging_path(final: Path) -> Path:
    """Where a file is written before it is complete."""
    return final.with_name(f".{final.name}.{os.getpid()}.partial")


@contextmanager
def staged(*finals: Path) -> Iterator[list[Path]]:
    """Temporary paths, one for each final path and in the same folder, to be written within the block.

    When the block ends they are moved to the final paths, over existing files. If it fails they are removed.
    """
    partial = [staging_path(final) for final in finals]
    try:
        yield partial
        for made, final in zip(partial, finals, strict=True):
            made.replace(final)
    finally:
        for made in partial:
            made.unlink(missing_ok=True)
