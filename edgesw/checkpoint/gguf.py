"""Tensors and metadata of a GGUF file, read and dequantised one tensor at a time."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgesw.checkpoint.gguf_file import Entry, read_head
from edgesw.checkpoint.reader import Rows
from edgesw.checkpoint.rows import read_rows
from edgesw.errors import CheckpointError, UnsupportedError

_AGAIN = "The file is truncated or damaged: download it again"


@cache
def _dequantisable(stored_type: Any) -> bool:
    """Whether the gguf package dequantises this type; it has no list to ask, so one block of zeros is tried."""
    from gguf.constants import GGML_QUANT_SIZES
    from gguf.quants import dequantize

    try:
        dequantize(np.zeros((1, GGML_QUANT_SIZES[stored_type][1]), np.uint8), stored_type)
    except NotImplementedError:
        return False
    return True


class GgufReader:
    """The tensors of one GGUF file, and its metadata as plain Python values.

    Raises CheckpointError for a file that is no GGUF, or is truncated; UnsupportedError for a part of a split file and
    for big-endian files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata: dict[str, Any] = {}
        self._entries: dict[str, Entry] = {}
        self._open()
        if self.metadata.get("split.count", 1) not in (0, 1):
            raise UnsupportedError(
                f"{path}: one part of a split GGUF. Join the parts first: llama-gguf-split --merge FIRST_PART OUT.gguf"
            )

    def names(self) -> frozenset[str]:
        return frozenset(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._readable(name).shape

    def read(self, name: str, rows: Rows | None = None) -> np.ndarray:
        from gguf.quants import dequantize

        entry = self._readable(name)
        # A row's blocks lie together, so rows can be picked before they are dequantised; a vector is one row.
        flat = len(entry.shape) == 1
        shape, stored = ((1, *each) if flat else each for each in (entry.shape, entry.stored_shape))
        picked = None if flat else rows
        try:
            values = read_rows(
                self.path, entry.offset, entry.dtype, stored, picked, shape[1:],
                lambda part: dequantize(part, entry.type),
            )  # fmt: skip
        except (OSError, EOFError) as error:
            raise CheckpointError(f"{self.path}: cannot read tensor '{name}': {error}. {_AGAIN}.") from error
        return values[0] if flat and rows is None else values[0][rows] if flat else values

    def _readable(self, name: str) -> Entry:
        entry = self._entries[name]
        if not _dequantisable(entry.type):
            raise UnsupportedError(
                f"{self.path}: tensor '{name}' is stored as {entry.type.name}, which the gguf package cannot dequantise"
                ": take a file in another format, such as Q8_0."
            )
        return entry

    def _open(self) -> None:
        try:
            with self.path.open("rb") as file:
                magic = file.read(4)
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be read ({error.strerror}): see to its permissions.") from error
        if magic != b"GGUF":
            raise CheckpointError(f"{self.path}: not a GGUF file (it does not begin with 'GGUF'): download it again.")
        try:
            self.metadata, self._entries = read_head(self.path)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.path}: cannot be read as GGUF ({error}). {_AGAIN}.") from error
