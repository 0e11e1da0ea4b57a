"""Tensors from safetensors files, one or sharded, memory-mapped.

The header is parsed here rather than by the safetensors library, which cannot give bfloat16 to numpy.
Format: https://huggingface.co/docs/safetensors#format
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from edgesw.checkpoint.reader import Rows
from edgesw.errors import CheckpointError, UnsupportedError

INDEX = "model.safetensors.index.json"

# dtype name -> how numpy maps it; numpy has no bfloat16, so its bits are read and widened
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_HEADER_LIMIT = 100_000_000  # bytes, the limit of the safetensors library itself
_AGAIN = "The file is truncated or damaged: download it again"


@dataclass(frozen=True)
class _Entry:
    path: Path
    offset: int  # bytes from the start of the file
    dtype: str
    shape: tuple[int, ...]


class SafetensorsReader:
    """The tensors of a folder with `model.safetensors`, or with shards and their index.

    Raises CheckpointError for a damaged, truncated or missing file, naming it.
    """

    def __init__(self, folder: Path) -> None:
        self._entries = _sharded(folder) if (folder / INDEX).is_file() else _header(_only_file(folder))

    def names(self) -> frozenset[str]:
        return frozenset(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._readable(name).shape

    def read(self, name: str, rows: Rows | None = None) -> np.ndarray:
        entry = self._readable(name)
        try:
            # Mapped anew for each read: pages once read would otherwise count as ours until the end.
            stored = np.memmap(entry.path, _DTYPES[entry.dtype], "r", entry.offset, entry.shape)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{entry.path}: cannot read tensor '{name}': {error}. {_AGAIN}.") from error
        picked = np.asarray(stored if rows is None else stored[rows])
        if entry.dtype == "BF16":
            bits = picked.astype(np.uint32)
            bits <<= 16  # a bfloat16 is the upper half of a float32
            return bits.view(np.float32)
        return picked.astype(np.float32)

    def _readable(self, name: str) -> _Entry:
        entry = self._entries[name]
        if entry.dtype not in _DTYPES:
            raise UnsupportedError(
                f"{entry.path}: tensor '{name}' is stored as {entry.dtype}; edgesw reads {', '.join(sorted(_DTYPES))}. "
                "Use the original checkpoint, not a quantised one."
            )
        return entry


def _only_file(folder: Path) -> Path:
    files = sorted(folder.glob("*.safetensors"))
    default = folder / "model.safetensors"
    if default in files:
        return default
    if len(files) == 1:
        return files[0]
    if files:
        raise CheckpointError(f"{folder}: {len(files)} safetensors files but no {INDEX} that says what is where")
    raise CheckpointError(f"{folder}: no safetensors files")


def _sharded(folder: Path) -> dict[str, _Entry]:
    path = folder / INDEX
    try:
        places = json.loads(path.read_bytes())["weight_map"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a safetensors index. {_AGAIN}.") from error
    if not isinstance(places, dict) or not places or not all(isinstance(shard, str) for shard in places.values()):
        raise CheckpointError(f"{path}: 'weight_map' must say which file each tensor is in. {_AGAIN}.")
    headers = {shard: _header(_inside(folder, shard)) for shard in sorted(set(places.values()))}
    for name, shard in places.items():
        if name not in headers[shard]:
            raise CheckpointError(f"{folder / shard}: tensor '{name}' is missing, though {INDEX} lists it. {_AGAIN}.")
    return {name: headers[shard][name] for name, shard in places.items()}


def _inside(folder: Path, shard: str) -> Path:
    """The shard's path. An index is downloaded text: a name that leads out of the folder is refused."""
    parts = PureWindowsPath(shard)  # knows "/" and "\\" and drives
    if parts.drive or parts.root or ".." in parts.parts or not parts.parts:
        raise CheckpointError(f"{folder / INDEX}: file name '{shard}' leads out of the folder; refused")
    path = folder / shard
    if not path.is_file():
        raise CheckpointError(f"{folder}: file '{shard}' is missing, though {INDEX} lists it. Download it again.")
    return path


def _header(path: Path) -> dict[str, _Entry]:
    """Name -> place of each tensor in one file; every offset is checked against the file's size."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= min(size - 8, _HEADER_LIMIT):
                raise CheckpointError(f"{path}: no safetensors header in its {size} bytes. {_AGAIN}.")
            header = json.loads(file.read(length))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its header is not JSON. {_AGAIN}.") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: its header is not a table of tensors. {_AGAIN}.")
    header.pop("__metadata__", None)
    spans = {name: _span(path, name, value) for name, value in header.items()}
    end = 0
    for name, (begin, stop) in sorted(spans.items(), key=lambda item: item[1]):
        if begin != end:
            raise CheckpointError(f"{path}: tensor '{name}' overlaps another or leaves a hole. {_AGAIN}.")
        end = stop
    if end != size - 8 - length:
        raise CheckpointError(f"{path}: {size} bytes, but its header tells of {end + 8 + length}. {_AGAIN}.")
    return {
        name: _Entry(path, 8 + length + spans[name][0], value["dtype"], tuple(value["shape"]))
        for name, value in header.items()
    }


def _span(path: Path, name: str, value: Any) -> tuple[int, int]:
    """(first byte, byte after the last) of a tensor in the data part."""
    damaged = CheckpointError(f"{path}: the header's entry for tensor '{name}' makes no sense. {_AGAIN}.")
    try:
        dtype, shape, (begin, end) = value["dtype"], value["shape"], value["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise damaged from None
    if not isinstance(dtype, str) or not isinstance(shape, list):
        raise damaged
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)) or begin > end:
        raise damaged
    if dtype in _DTYPES and end - begin != prod(shape) * np.dtype(_DTYPES[dtype]).itemsize:
        raise damaged
    return begin, end
