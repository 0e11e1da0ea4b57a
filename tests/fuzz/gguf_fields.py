"""A GGUF file as a list of fields, each with its kind, so that any of them can lie."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

Field = tuple[str, Any]
"""A format of `struct` and its number, or "raw" and bytes."""

TYPES = {"B": 0, "b": 1, "H": 2, "h": 3, "I": 4, "i": 5, "f": 6, "?": 7, "str": 8, "list": 9, "Q": 10, "q": 11, "d": 12}
Metadata = dict[str, tuple[str, Any]]


def fields_of(metadata: Metadata, tensors: dict[str, np.ndarray]) -> tuple[list[Field], bytes]:
    """The fields up to the data, and the data: float32 tensors."""
    fields: list[Field] = [("raw", b"GGUF"), ("I", 3), ("Q", len(tensors)), ("Q", len(metadata))]
    for key, (kind, value) in metadata.items():
        fields += _text(key) + _value(kind, value)
    data = b""
    for name, tensor in tensors.items():
        fields += [*_text(name), ("I", tensor.ndim), *(("Q", size) for size in reversed(tensor.shape))]
        fields += [("I", 0), ("Q", len(data))]
        data += tensor.astype("<f4").tobytes()
        data += bytes(-len(data) % 32)
    return fields, data


def file_of(fields: list[Field], data: bytes) -> bytes:
    """The file, its data aligned."""
    head = b"".join(value if kind == "raw" else _packed(kind, value) for kind, value in fields)
    return head + bytes(-len(head) % 32) + data


def _packed(kind: str, value: Any) -> bytes:
    if kind in "fd?":
        try:
            return struct.pack(f"<{kind}", value)
        except OverflowError:
            return struct.pack(f"<{kind}", 0)
    return int(value).to_bytes(9, "little", signed=True)[: struct.calcsize(f"<{kind}")]


def _text(value: str) -> list[Field]:
    content = value.encode("utf-8", "surrogatepass")
    return [("Q", len(content)), ("raw", content)]


def _value(kind: str, value: Any) -> list[Field]:
    fields: list[Field] = [("I", TYPES[kind])]
    if kind == "str":
        return fields + _text(value)
    if kind != "list":
        return [*fields, (kind, value)]
    inner, items = value
    fields += [("I", TYPES[inner]), ("Q", len(items))]
    for item in items:  # of a list of lists each has the fields of its own, without the first
        fields += _text(item) if inner == "str" else _value(inner, item)[1:]
    return fields
