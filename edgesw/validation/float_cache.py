"""A cache of the float model's side of a validation: a second package of the same model does not run it again."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import torch

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.checkpoint.content_index import content_of
from edgesw.files.atomic_write import staged
from edgesw.runtime.torch import FloatLogits
from edgesw.system.machine import own_cache

# How many passes are cached: the latest ones.
KEPT = 16
# Raised when what the decoder computes changes, so that passes of older versions are not used.
VERSION = 1


def float_logits(checkpoint: Checkpoint, ids: np.ndarray, progress: Callable[[int], None]) -> FloatLogits:
    """`FloatLogits` of the checkpoint, from the cache where the same content has been run on the same ids before."""
    spec = checkpoint.spec
    digest = hashlib.sha256(f"{VERSION} {content_of(checkpoint.source.path)} {ids.shape}".encode())
    digest.update(np.ascontiguousarray(ids).tobytes())
    path = cache_folder() / f"{digest.hexdigest()}.npy"
    with contextlib.suppress(OSError, ValueError):  # missing or damaged: computed again
        hidden = np.load(path, allow_pickle=False)
        if hidden.shape == (*ids.shape, spec.hidden_size):
            path.touch()
            return FloatLogits(spec, checkpoint, ids, hidden=torch.from_numpy(hidden))
    made = FloatLogits(spec, checkpoint, ids, progress)
    keep_file(path, lambda file: np.save(file, made.hidden.numpy()), KEPT)
    return made


def cache_folder() -> Path:
    return own_cache() / "float"


def keep_file(path: Path, write: Callable[[IO[bytes]], object], most: int) -> None:
    """Writes a file of a cache, and removes all but the latest `most` of its kind. A cache that cannot be written costs
    time, not results."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with staged(path) as (partial,), partial.open("wb") as file:
            write(file)
        kept = sorted(path.parent.glob(f"*{path.suffix}"), key=lambda each: each.stat().st_mtime)
        for old in kept[:-most]:
            old.unlink(missing_ok=True)
