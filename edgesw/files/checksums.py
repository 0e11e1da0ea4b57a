"""SHA-256 of files, read piece by piece, and of checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from edgesw.progress import Progress

_PIECE = 1 << 20


def sha256(path: Path, tell: Callable[[int], None] = lambda _: None) -> str:
    """`tell` is told before each piece how many bytes came before it."""
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            tell(done)
            digest.update(piece)
            done += len(piece)
    return digest.hexdigest()


class Recorded(Protocol):
    """What a file was when its checksum was taken."""

    @property
    def sha256(self) -> str: ...

    @property
    def bytes(self) -> int: ...


def first_altered(folder: Path, files: Mapping[str, Recorded], progress: Progress) -> str | None:
    """The name of the first of these files whose SHA-256 is another than recorded; None if all are as recorded."""
    total, before = sum(entry.bytes for entry in files.values()), 0
    for name, entry in files.items():

        def tell(done: int, name: str = name, before: int = before) -> None:
            progress("Reading, MB", name, (before + done) // 10**6, total // 10**6)

        if sha256(folder / name, tell) != entry.sha256:
            return name
        before += entry.bytes
    return None


# Of a checkpoint's folder: what the decoder is read from. The tokenizer is not of it.
_PARTS = ("*.safetensors", "*.safetensors.index.json", "config.json")


def content_hash(path: Path) -> str:
    """What a checkpoint is, whatever it is called and wherever it lies: the SHA-256 of a .gguf file, or of the names
    and contents of a folder's configuration and shards. Takes some ten seconds for 15 GB."""
    if path.is_file():
        return sha256(path)
    digest = hashlib.sha256()
    for part in _parts(path):
        digest.update(f"{part.name} {sha256(part)}\n".encode())
    return digest.hexdigest()


def file_times(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of the last change of each file that `content_hash` reads: other ones, other content."""
    found = ((part, part.stat()) for part in ([path] if path.is_file() else _parts(path)))
    return tuple((part.name, stat.st_size, stat.st_mtime_ns) for part, stat in found)


def _parts(folder: Path) -> list[Path]:
    return sorted({found for pattern in _PARTS for found in folder.glob(pattern)})
