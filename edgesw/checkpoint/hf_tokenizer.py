"""The tokenizer of a Hugging Face checkpoint, read by transformers in a process with limits on its time and memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgesw.checkpoint.hf_reader import READER
from edgesw.checkpoint.hf_tokenizer_check import TOKENIZER_FILES, VOCABULARIES, damaged
from edgesw.errors import CheckpointError
from edgesw.system.bounded_process import Failed, Overrun

SECONDS, SECONDS_A_MB = 30.0, 20.0
"""The time limit, and what each megabyte of the folder's files adds."""
MEMORY, MEMORY_A_BYTE = 1 << 30, 200
"""The memory that reading may take, and what each byte of the files adds."""
LARGEST = 256 << 20
"""More than all files of a tokenizer together have: the largest that are published have 40 MB."""


def tokenizer_from_folder(folder: Path) -> dict[str, bytes]:
    """The contents of tokenizer.json, tokenizer_config.json and chat_template.jinja, by name.

    The last is left out where the model has no template. The ids and prompts are those of transformers'
    `AutoTokenizer.from_pretrained(folder)`, without code from the folder and without the hub. CheckpointError for a
    tokenizer that is missing or damaged, that transformers cannot read as it is, or that takes more than it may.
    """
    size = sum(path.stat().st_size for path in folder.glob("*") if path.name in TOKENIZER_FILES and path.is_file())
    if size > LARGEST:
        raise CheckpointError(f"{folder}: its tokenizer's files are larger than any: {CheckpointError.again}.")
    with tempfile.TemporaryDirectory() as scratch:
        given = {"folder": str(folder.absolute()), "shown": str(folder), "scratch": scratch}
        try:
            names, files = READER.ask(
                "tokenizer", given, seconds=SECONDS + SECONDS_A_MB * size / 1e6, memory=MEMORY + MEMORY_A_BYTE * size,
                most=LARGEST + MEMORY_A_BYTE * size,
            )  # fmt: skip
        except (Overrun, Failed) as error:
            name = next((name for name in VOCABULARIES if (folder / name).is_file()), "the tokenizer")
            doing = f"reading it {error}" if isinstance(error, Overrun) else f"reading it: {error}"
            raise damaged(folder, name, doing) from error
    return dict(zip(names, files, strict=True))
