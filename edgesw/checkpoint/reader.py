"""What a checkpoint asks of a file with tensors."""

from __future__ import annotations

from typing import Protocol

import numpy as np

Rows = slice | np.ndarray
"""Which rows of a tensor (its first axis): a slice, or an array of row numbers in any order."""


class TensorReader(Protocol):
    """Tensors by the name the file gives them. Nothing is read before it is asked for, nothing read is kept."""

    def names(self) -> frozenset[str]:
        """Names of all tensors in the file(s)."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of what `read` gives. UnsupportedError for values stored in a type that cannot be read."""
        ...

    def read(self, name: str, rows: Rows | None = None) -> np.ndarray:
        """The tensor as float32, or only these rows of it: the others are neither read nor converted.

        CheckpointError for a file that cannot be read, UnsupportedError as for `shape`.
        """
        ...
