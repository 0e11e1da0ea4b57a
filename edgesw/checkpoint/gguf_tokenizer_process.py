"""Builds the tokenizer of a GGUF file in a process with limits: both the function that asks, and what the process does.

The tokenizers library is not made for vocabularies that lie, and this process should survive what it does with one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgesw.checkpoint.gguf_tokenizer import tokenizer_from_gguf
from edgesw.errors import CheckpointError
from edgesw.system.bounded_process import BoundedProcess, Failed, Overrun, text_length

SECONDS, SECONDS_A_MB = 30.0, 20.0
"""The time limit, and what each megabyte of the vocabulary adds."""
MEMORY, MEMORY_A_BYTE = 1 << 30, 400
"""The memory that building may take, and what each byte of the vocabulary adds."""
MOST, MOST_A_BYTE = 64 << 20, 100
"""The longest files in bytes, and what each byte of the vocabulary adds."""

_PROCESS = BoundedProcess("edgesw.checkpoint.gguf_tokenizer_process")


def bounded_tokenizer_from_gguf(metadata: Mapping[str, Any], where: str) -> dict[str, bytes]:
    """Like `tokenizer_from_gguf`; also CheckpointError for a tokenizer that takes more time or memory than it may."""
    wanted = {key: value for key, value in metadata.items() if key.startswith(("tokenizer.", "general."))}
    binary = {key: value for key, value in wanted.items() if isinstance(value, bytes)}
    given = {key: _plain(value) for key, value in wanted.items() if key not in binary}
    size = text_length(given) + sum(map(len, binary.values()))
    try:
        names, files = _PROCESS.ask(
            "build", {"metadata": given, "binary": list(binary), "where": where}, list(binary.values()),
            seconds=SECONDS + SECONDS_A_MB * size / 1e6, memory=MEMORY + MEMORY_A_BYTE * size,
            most=MOST + MOST_A_BYTE * size,
        )  # fmt: skip
    except (Overrun, Failed) as error:
        doing = f"building it {error}" if isinstance(error, Overrun) else f"building it: {error}"
        raise CheckpointError(
            f"{where}: the tokenizer in the metadata is damaged ({doing}): download it again."
        ) from error
    return dict(zip(names, files, strict=True))


def _plain(value: Any) -> Any:
    """Bytes within a list as numbers."""
    return list(map(_plain, value)) if isinstance(value, (list, bytes)) else value


def _build(given: Mapping[str, Any], files: Sequence[bytes]) -> tuple[Any, Sequence[bytes]]:
    metadata = {**given["metadata"], **dict(zip(given["binary"], files, strict=True))}
    made = tokenizer_from_gguf(metadata, given["where"])
    return list(made), list(made.values())


HANDLERS = {"build": _build}
