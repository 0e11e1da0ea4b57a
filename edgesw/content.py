"""What a checkpoint is, whatever it is called and wherever it lies."""

from __future__ import annotations

import hashlib
from pathlib import Path

# Of a folder: what the decoder is read from. The tokenizer is not of it.
PARTS = ("*.safetensors", "*.safetensors.index.json", "config.json")


def content_hash(path: Path) -> str:
    """SHA-256 of a .gguf file, or of the names and contents of a folder's configuration and shards, hexadecimal. Takes
    some ten seconds for 15 GB."""
    if path.is_file():
        return file_hash(path)
    digest = hashlib.sha256()
    for part in sorted({found for pattern in PARTS for found in path.glob(pattern)}):
        digest.update(f"{part.name} {file_hash(part)}\n".encode())
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
