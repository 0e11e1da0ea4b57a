"""SHA-256 checksums of files, which are read piece by piece, and of checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from edgesw.progress import Progress

_PIECE = 1 << 20


def sha256(path: Path, on_progress: Callable[[int], None] = lambda _: None) -> str:
    """The SHA-256 of a file, in hexadecimal. Calls `on_progress` before each piece with the bytes read so far."""
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            on_progress(done)
            digest.update(piece)
            done += len(piece)
    return digest.hexdigest()


class Recorded(Protocol):
    """The size and the checksum of a file when it was written."""

    @property
    def sha256(self) -> str: ...

    @property
    def bytes(self) -> int: ...


def first_altered(folder: Path, files: Mapping[str, Recorded], progress: Progress) -> str | None:
    """The name of the first of these files whose SHA-256 is not the recorded one; None if there is none."""
    total, before = sum(entry.bytes for entry in files.values()), 0
    for name, entry in files.items():

        def on_progress(done: int, name: str = name, before: int = before) -> None:
            progress("Reading, MB", name, (before + done) // 10**6, total // 10**6)

        if sha256(folder / name, on_progress) != entry.sha256:
            return name
        before += entry.bytes
    return None


# The files of a checkpoint's folder that the decoder is read from. The tokenizer's are not among them.
_PARTS = ("*.safetensors", "*.safetensors.index.json", "config.json")


def content_hash(path: Path) -> str:
    """Identifies a checkpoint independently of its name and place: the SHA-256 of a .gguf file, or of the names and
    contents of a folder's configuration and shards. Takes about ten seconds for 15 GB."""
    if path.is_file():
        return sha256(path)
    digest = hashlib.sha256()
    for part in _parts(path):
        digest.update(f"{part.name} {sha256(part)}\n".encode())
    return digest.hexdigest()


def file_times(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of the last change of each file that `content_hash` reads, to notice changes quickly."""
    found = ((part, part.stat()) for part in ([path] if path.is_file() else _parts(path)))
    return tuple((part.name, stat.st_size, stat.st_mtime_ns) for part, stat in found)


def _parts(folder: Path) -> list[Path]:
    return sorted({found for pattern in _PARTS for found in folder.glob(pattern)})
