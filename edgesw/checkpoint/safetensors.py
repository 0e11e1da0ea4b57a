"""Tensors from safetensors files, one or sharded; the safetensors library checks their headers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
from safetensors import SafetensorError, safe_open

from edgesw.checkpoint.reader import Rows
from edgesw.checkpoint.rows import read_rows
from edgesw.errors import CheckpointError, UnsupportedError
from edgesw.files.json_file import read_json

INDEX = "model.safetensors.index.json"
DTYPES = {name: np.dtype(kind) for name, kind in {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<i2"}.items()}
"""The types that are read. numpy has no bfloat16; torch takes its bits."""
_AGAIN = "The file is truncated or damaged: download it again"


@dataclass(frozen=True)
class _Entry:
    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    """Bytes from the beginning of the file."""


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
        import torch

        entry = self._readable(name)
        shape = entry.shape or (1,)

        def widened(part: np.ndarray) -> np.ndarray:
            stored = torch.from_numpy(part)
            return (stored.view(torch.bfloat16) if entry.dtype == "BF16" else stored).float().numpy()

        try:
            values = read_rows(entry.path, entry.offset, DTYPES[entry.dtype], shape, rows, shape[1:], widened)
        except (OSError, EOFError) as error:
            raise CheckpointError(f"{entry.path}: cannot read tensor '{name}': {error}. {_AGAIN}.") from error
        return values if rows is not None else values.reshape(entry.shape)

    def _readable(self, name: str) -> _Entry:
        entry = self._entries[name]
        if entry.dtype not in DTYPES:
            raise UnsupportedError(
                f"{entry.path}: tensor '{name}' is stored as {entry.dtype}; edgesw reads {', '.join(sorted(DTYPES))}. "
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
        raise CheckpointError(
            f"{folder}: {len(files)} safetensors files but no {INDEX} that says what is where: download it too."
        )
    raise CheckpointError(f"{folder}: no safetensors files: download them too.")


def _sharded(folder: Path) -> dict[str, _Entry]:
    path = folder / INDEX
    try:
        places = read_json(path)["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a safetensors index. {_AGAIN}.") from error
    if not isinstance(places, dict) or not places or not all(isinstance(shard, str) for shard in places.values()):
        raise CheckpointError(f"{path}: 'weight_map' must say which file each tensor is in. {_AGAIN}.")
    headers = {shard: _header(_inside(folder, shard)) for shard in sorted(set(places.values()))}
    for name, shard in places.items():
        if name not in headers[shard]:
            raise CheckpointError(f"{folder / shard}: tensor '{name}' is missing, though {INDEX} lists it. {_AGAIN}.")
    return {name: headers[shard][name] for name, shard in places.items()}


def _inside(folder: Path, shard: str) -> Path:
    """The shard's path. An index is downloaded text: a name that leads out of the folder is refused. Links in the
    folder are followed: the hub's cache is made of them."""
    parts = PureWindowsPath(shard)  # knows "/" and "\\" and drives
    if parts.drive or parts.root or ".." in parts.parts or not parts.parts:
        raise CheckpointError(
            f"{folder / INDEX}: file name '{shard}' leads out of the folder; refused. Take the model elsewhere."
        )
    path = folder / shard
    try:
        there = path.is_file()
    except OSError:  # no name of a file
        there = False
    if not there:
        raise CheckpointError(f"{folder}: file '{shard}' is missing, though {INDEX} lists it. Download it again.")
    return path


def _header(path: Path) -> dict[str, _Entry]:
    """Name -> type, shape and place of each tensor in one file; the library checks every offset against the size."""
    try:
        with safe_open(path, framework="np"), path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        return {
            name: _Entry(path, each["dtype"], tuple(each["shape"]), 8 + length + each["data_offsets"][0])
            for name, each in header.items()
        }
    except (SafetensorError, ValueError, LookupError, TypeError) as error:  # all but the first: changed since the check
        raise CheckpointError(f"{path}: {error}. {_AGAIN}.") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}): see to its permissions.") from error
