"""SafetensorsReader: tensors from a safetensors file, or from shards and their index.

The safetensors library checks each header, for which it maps the file for a moment; data is read without it.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from edgesw.checkpoint.reader import AGAIN, StoredTensor, TensorReader
from edgesw.errors import CheckpointError
from edgesw.files.header_bounds import bounded_shape
from edgesw.files.json_file import read_json

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
# numpy has no bfloat16: its bits are read as integers, which torch takes as bfloat16.
_DTYPES = {name: np.dtype(kind) for name, kind in {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<i2"}.items()}


class SafetensorsReader(TensorReader):
    """The tensors of a folder that holds `model.safetensors`, or shards and their index. Where it holds both, only the
    former is read, as by transformers.

    Raises CheckpointError for a damaged, truncated or missing file, naming it.
    """

    unreadable = f"; edgesw reads {', '.join(sorted(_DTYPES))}. Use the original checkpoint, not a quantized one."

    def __init__(self, folder: Path) -> None:
        whole, index = (folder / WHOLE).is_file(), (folder / INDEX).is_file()
        super().__init__(_sharded(folder) if index and not whole else _header(_only_file(folder)))
        both = f"{WHOLE} is read, not the files that {INDEX} lists, as by transformers"
        self.note = both if whole and index else None
        """What a user should know about the choice of files."""


def _only_file(folder: Path) -> Path:
    files = sorted(path for path in folder.glob("*.safetensors") if path.is_file())  # opening a pipe would wait
    default = folder / WHOLE
    if default in files:
        return default
    if len(files) == 1:
        return files[0]
    if files:
        raise CheckpointError(
            f"{folder}: {len(files)} safetensors files but no {INDEX} to say which tensor is where: download it too."
        )
    raise CheckpointError(f"{folder}: no safetensors files: download them too.")


def _sharded(folder: Path) -> dict[str, StoredTensor]:
    path = folder / INDEX
    try:
        places = read_json(path)["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a safetensors index. {AGAIN}.") from error
    if not isinstance(places, dict) or not places or not all(isinstance(shard, str) for shard in places.values()):
        raise CheckpointError(f"{path}: 'weight_map' must state which file each tensor is in. {AGAIN}.")
    tensors: dict[str, StoredTensor] = {}
    for shard in sorted(set(places.values())):
        # All of a file's tensors count, listed or not, as transformers reads them all.
        for name, tensor in _header(_inside(folder, shard)).items():
            if name in tensors:
                first = tensors[name].path.name
                raise CheckpointError(f"{folder}: tensor '{name}' is in both '{first}' and '{shard}'. {AGAIN}.")
            tensors[name] = tensor
    for name, shard in places.items():
        if name not in tensors:
            raise CheckpointError(f"{folder / shard}: tensor '{name}' is missing, though {INDEX} lists it. {AGAIN}.")
    return tensors


def _inside(folder: Path, shard: str) -> Path:
    """The shard's path; a name that leads out of the folder is refused, as an index is downloaded text. Links in the
    folder are followed: the hub's cache is made of them."""
    parts = PureWindowsPath(shard)  # knows "/" and "\\" and drives
    if parts.drive or parts.root or ".." in parts.parts or not parts.parts:
        raise CheckpointError(
            f"{folder / INDEX}: file name '{shard}' leads out of the folder and is refused: get the model elsewhere."
        )
    path = folder / shard
    try:
        there = path.is_file()
    except OSError:  # not a valid file name
        there = False
    if not there:
        raise CheckpointError(f"{folder}: file '{shard}' is missing, though {INDEX} lists it. Download it again.")
    return path


def _header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of one file by name. The library checks every offset against the file's size."""
    try:
        with safe_open(path, framework="np"), path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        return {name: _stored(path, entry, 8 + length) for name, entry in header.items()}
    except (SafetensorError, ValueError, LookupError, TypeError) as error:  # all but the first: changed since the check
        raise CheckpointError(f"{path}: {error}. {AGAIN}.") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}): check its permissions.") from error


def _stored(path: Path, entry: dict[str, Any], data_offset: int) -> StoredTensor:
    kind, (shape, _) = entry["dtype"], bounded_shape(entry["shape"], "a tensor")
    dtype = _DTYPES.get(kind)
    decode = None if dtype is None else partial(_widened, bfloat16=kind == "BF16")
    offset = data_offset + entry["data_offsets"][0]
    return StoredTensor(path, offset, dtype or np.dtype(np.uint8), shape, shape, kind, decode)


def _widened(stored: np.ndarray, *, bfloat16: bool) -> np.ndarray:
    import torch

    values = torch.from_numpy(stored)
    return (values.view(torch.bfloat16) if bfloat16 else values).float().numpy()
