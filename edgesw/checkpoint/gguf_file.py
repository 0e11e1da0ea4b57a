"""The head of a GGUF file: metadata and which tensors there are, each length checked against the file before its use.

Format: docs/gguf.md of ggml. The gguf package's own reader checks nothing, so that a wrong length lets it run on
without end; it also makes an array of every number.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from edgesw.errors import UnsupportedError

# Formats of numbers by GGUF's number of their type.
_NUMBERS = {0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8"}
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)
_MOST_AXES = 4
# Tensors of these types are arrays of numbers; all others are blocks of bytes.
_PLAIN = {"F16": np.float16, "F32": np.float32, "F64": np.float64, "I8": np.int8, "I16": np.int16, "I32": np.int32}


@dataclass(frozen=True)
class Entry:
    """One tensor of the file."""

    offset: int  # bytes from the start of the file
    shape: tuple[int, ...]
    stored_shape: tuple[int, ...]  # of the quantised data, in elements of `dtype`
    dtype: np.dtype[Any]
    type: Any  # gguf.GGMLQuantizationType


def read_head(path: Path) -> tuple[dict[str, Any], dict[str, Entry]]:
    """Metadata by key, as plain Python values, and tensors by name.

    Raises ValueError for damage, UnsupportedError for a big-endian file, OSError for one that cannot be read.
    """
    head = _Head(path)
    if head.number("<u4") != 0x46554747:
        raise ValueError("it does not begin with 'GGUF'")
    version = head.number("<u4")
    if version and not version & 0xFFFF:
        raise UnsupportedError(f"{path}: a big-endian GGUF; convert it to little-endian first")
    if version not in _VERSIONS:
        raise ValueError(f"version {version} is not known")
    tensors, keys = head.number("<u8"), head.number("<u8")
    metadata: dict[str, Any] = {}
    for _ in range(keys):
        key = head.text()
        if key in metadata:
            raise ValueError(f"'{key}' is in it twice")
        metadata[key] = head.value(head.number("<u4"))
    told = [head.tensor() for _ in range(tensors)]
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise ValueError(f"'general.alignment' is {alignment}")
    start = -(-head.at // alignment) * alignment
    entries: dict[str, Entry] = {}
    for name, shape, number, offset in told:
        if name in entries:
            raise ValueError(f"tensor '{name}' is in it twice")
        entries[name] = _entry(name, shape, number, start + offset, head.size)
    return metadata, entries


def _entry(name: str, shape: tuple[int, ...], number: int, offset: int, size: int) -> Entry:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    kind = GGMLQuantizationType(number)
    block, block_bytes = GGML_QUANT_SIZES[kind]
    if shape[-1] % block:
        raise ValueError(f"rows of tensor '{name}' are no whole number of blocks of {kind.name}")
    dtype = np.dtype(_PLAIN.get(kind.name, np.uint8))
    stored = shape if kind.name in _PLAIN else (*shape[:-1], shape[-1] // block * block_bytes)
    if offset + prod(stored) * dtype.itemsize > size:
        raise ValueError(f"tensor '{name}' ends beyond the file")
    return Entry(offset, shape, stored, dtype, kind)


class _Head:
    """The file from its start on, field by field."""

    def __init__(self, path: Path) -> None:
        self._bytes = memoryview(np.memmap(path, np.uint8, "r").data)
        self.at, self.size = 0, len(self._bytes)

    def take(self, count: int) -> memoryview:
        """The next so many bytes."""
        if count > self.size - self.at:
            raise ValueError(f"at byte {self.at} it says that {count} more follow; {self.size - self.at} do")
        self.at += count
        return self._bytes[self.at - count : self.at]

    def number(self, kind: str) -> int:
        return int(np.frombuffer(self.take(int(kind[-1])), kind)[0])

    def text(self) -> str:
        (length,) = struct.unpack("<Q", self.take(8))
        return str(self.take(length), "utf-8")

    def value(self, kind: int) -> Any:
        """A value of GGUF's type of this number."""
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self._numbers(kind, 1)[0]
        inner, count = self.number("<u4"), self.number("<u8")
        if inner == _STRING:
            return [self.text() for _ in range(count)]
        return self._numbers(inner, count)  # an array of arrays is no type of number: nobody writes one

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        """Name, shape (rows first), number of its type, and offset from where the data begins."""
        name, axes = self.text(), self.number("<u4")
        if not 1 <= axes <= _MOST_AXES:
            raise ValueError(f"tensor '{name}' has {axes} axes")
        sizes = struct.unpack(f"<{axes}Q", self.take(8 * axes))
        if 0 in sizes:
            raise ValueError(f"tensor '{name}' is empty")
        return name, sizes[::-1], self.number("<u4"), self.number("<u8")

    def _numbers(self, kind: int, count: int) -> list[Any]:
        if kind not in _NUMBERS:
            raise ValueError(f"at byte {self.at} is a value of type {kind}, which is not known")
        dtype = np.dtype(_NUMBERS[kind])
        if dtype.kind == "b":  # a byte that is neither 0 nor 1 would be neither true nor false
            return (np.frombuffer(self.take(count), np.uint8) != 0).tolist()
        return np.frombuffer(self.take(count * dtype.itemsize), dtype).tolist()
