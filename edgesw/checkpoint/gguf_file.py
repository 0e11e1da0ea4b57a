"""The head of a GGUF file: its metadata and its list of tensors.

Every length is checked against the file's size before it is used (format: docs/gguf.md of ggml). The gguf package's
own reader checks none, so that a wrong length makes it run on without end; it also makes an array of every number.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edgesw.checkpoint.reader import StoredTensor
from edgesw.errors import UnsupportedError

# numpy's formats by GGUF's type numbers.
_NUMBERS = {0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8"}
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)
_MOST_AXES = 4
# Tensors of these types are plain arrays; all others are blocks of bytes.
_PLAIN = {"F16": np.float16, "F32": np.float32, "F64": np.float64, "I8": np.int8, "I16": np.int16, "I32": np.int32}


def read_head(path: Path, file: BinaryIO) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
    """Metadata by key, as plain Python values, and tensors by name, of a file that is open after its "GGUF".

    Raises ValueError for damage, UnsupportedError for a big-endian file, OSError for a file that cannot be read.
    """
    head = _Head(file)
    version = head.number("<u4")
    if version and not version & 0xFFFF:
        raise UnsupportedError(f"{path}: big-endian GGUF files are not supported: convert it to little-endian first.")
    if version not in _VERSIONS:
        raise ValueError(f"version {version} is not known")
    tensors, keys = head.number("<u8"), head.number("<u8")
    metadata: dict[str, Any] = {}
    for _ in range(keys):
        key = head.text()
        if key in metadata:
            raise ValueError(f"it has the key '{key}' twice")
        metadata[key] = head.value(head.number("<u4"))
    listed = [head.tensor() for _ in range(tensors)]
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise ValueError(f"'general.alignment' is {alignment}")
    start = -(-head.at // alignment) * alignment
    tensors_by_name: dict[str, StoredTensor] = {}
    for name, shape, number, offset in listed:
        if name in tensors_by_name:
            raise ValueError(f"it has tensor '{name}' twice")
        tensors_by_name[name] = _stored(path, name, shape, number, start + offset, head.size)
    return metadata, tensors_by_name


def _stored(path: Path, name: str, shape: tuple[int, ...], number: int, offset: int, size: int) -> StoredTensor:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    kind = GGMLQuantizationType(number)
    block, block_bytes = GGML_QUANT_SIZES[kind]
    if shape[-1] % block:
        raise ValueError(f"the rows of tensor '{name}' are not whole blocks of {kind.name}")
    dtype = np.dtype(_PLAIN.get(kind.name, np.uint8))
    stored = shape if kind.name in _PLAIN else (*shape[:-1], shape[-1] // block * block_bytes)
    if offset + prod(stored) * dtype.itemsize > size:
        raise ValueError(f"tensor '{name}' ends beyond the end of the file")
    return StoredTensor(path, offset, dtype, shape, stored, kind.name, _dequantizer(kind))


@cache
def _dequantizer(kind: Any) -> Callable[[np.ndarray], np.ndarray] | None:
    """The gguf package's conversion of this type to float32, or None. It has no list to ask, so one block is tried."""
    from gguf.constants import GGML_QUANT_SIZES
    from gguf.quants import dequantize

    try:
        dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
    except NotImplementedError:
        return None
    # As one row: the package converts 16 rows at a time, which is slow where rows are short.
    return lambda rows: dequantize(rows.reshape(1, -1), kind).reshape(len(rows), -1)


class _Head:
    """Reads the file field by field, from where it stands."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.at, self.size = file, file.tell(), os.fstat(file.fileno()).st_size

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > self.size - self.at:
            raise ValueError(f"byte {self.at} announces {count} more bytes, but only {self.size - self.at} follow")
        taken = self._file.read(count)
        if len(taken) < count:
            raise ValueError("it was cut short while it was read")
        self.at += count
        return taken

    def number(self, kind: str) -> int:
        return int(np.frombuffer(self.take(int(kind[-1])), kind)[0])

    def text(self) -> str:
        (length,) = struct.unpack("<Q", self.take(8))
        return str(self.take(length), "utf-8")

    def value(self, kind: int) -> Any:
        """A value of the type with this number."""
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self._numbers(kind, 1)[0]
        inner, count = self.number("<u4"), self.number("<u8")
        if inner == _STRING:
            return [self.text() for _ in range(count)]
        return self._numbers(inner, count)  # nobody writes an array of arrays; `_numbers` refuses it

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        """Name, shape (rows first), type number, and offset from the start of the data."""
        name, axes = self.text(), self.number("<u4")
        if not 1 <= axes <= _MOST_AXES:
            raise ValueError(f"tensor '{name}' has {axes} axes")
        sizes = struct.unpack(f"<{axes}Q", self.take(8 * axes))
        if 0 in sizes:
            raise ValueError(f"tensor '{name}' is empty")
        return name, sizes[::-1], self.number("<u4"), self.number("<u8")

    def _numbers(self, kind: int, count: int) -> list[Any]:
        if kind not in _NUMBERS:
            raise ValueError(f"the value at byte {self.at} has the unknown type {kind}")
        dtype = np.dtype(_NUMBERS[kind])
        if dtype.kind == "b":  # numpy would keep a byte above 1 as it is
            return (np.frombuffer(self.take(count), np.uint8) != 0).tolist()
        return np.frombuffer(self.take(count * dtype.itemsize), dtype).tolist()
