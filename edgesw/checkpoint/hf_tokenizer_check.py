"""Checks the tokenizer files of a checkpoint before transformers, which trusts them further, reads them."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgesw.errors import CheckpointError
from edgesw.files.json_file import parse_json
from edgesw.text.tokenizer_files import check_charsmaps

# Each holds a whole vocabulary. transformers makes up a tokenizer of three tokens where there is none.
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json", "tiktoken.model", "vocab.txt")
TOKENIZER_FILES = (*VOCABULARIES, "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
"""The files that a tokenizer is read from, templates aside."""
# Sixteen times the largest vocabularies that are published.
_MOST_IDS = 1 << 22


def check_tokenizer(folder: Path) -> None:
    """Raises CheckpointError before transformers, which trusts these files further, reads a damaged or hostile one."""
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise CheckpointError(
            f"{folder}: there is no tokenizer.json. Download the tokenizer again, or make one with transformers: "
            f"AutoTokenizer.from_pretrained('{folder}').save_pretrained('{folder}')"
        )
    for name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"):
        table = read_table(folder, name)
        if name in ("added_tokens.json", "vocab.json"):
            _check_ids(folder, name, table.values())
    if (folder / "tokenizer.json").is_file():
        try:
            check_charsmaps((folder / "tokenizer.json").read_bytes())
        except ValueError as error:
            raise damaged(folder, "tokenizer.json", error) from error
        table = read_table(folder, "tokenizer.json")
        vocabulary = table["model"].get("vocab") if isinstance(table.get("model"), dict) else None
        added = table.get("added_tokens")
        tokens = [token.get("id") for token in added if isinstance(token, dict)] if isinstance(added, list) else []
        _check_ids(
            folder, "tokenizer.json", [*vocabulary.values(), *tokens] if isinstance(vocabulary, dict) else tokens
        )
    others = read_table(folder, "tokenizer_config.json").get("fast_tokenizer_files")
    if others is not None and not (
        isinstance(others, list) and all(isinstance(name, str) and Path(name).name == name for name in others)
    ):
        raise damaged(folder, "tokenizer_config.json", "'fast_tokenizer_files' are not names of files in the folder")


def _check_ids(folder: Path, name: str, ids: Iterable[Any]) -> None:
    """Raises CheckpointError for an id beyond any vocabulary: the tokenizers library counts up to it when it writes."""
    wrong = next((number for number in ids if type(number) is not int or not 0 <= number < _MOST_IDS), None)
    if wrong is not None:
        raise damaged(folder, name, f"a token's id is {reprlib.repr(wrong)}")


def read_table(folder: Path, name: str) -> dict[str, Any]:
    """The content of a JSON file of the folder; empty if there is no such file."""
    path = folder / name
    if not path.is_file():
        return {}
    try:
        table = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise damaged(folder, name, error) from error
    if not isinstance(table, dict):
        raise damaged(folder, name, "not a JSON object")
    return table


def damaged(folder: Path, name: str, why: object) -> CheckpointError:
    return CheckpointError(f"{folder}: {name} is damaged ({why}): {CheckpointError.again}.")
