"""generation_config.json of a checkpoint, with the tokens that end a text or a turn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgesw.errors import CheckpointError
from edgesw.files.json_file import parse_json
from edgesw.text.tokenizer_files import stop_ids

_FILE = "generation_config.json"


def generation_config(folder: Path, config: Mapping[str, Any]) -> bytes:
    """The folder's own file, which is completed from config.json where it is missing or names no such token.

    One rule for every program that reads a package: a text ends at `eos_token_id` of generation_config.json, else of
    config.json, and at the tokenizer's own EOS. CheckpointError for a damaged file.
    """
    path = folder / _FILE
    content = path.read_bytes() if path.is_file() else b"{}"
    try:
        values = parse_json(content)
    except ValueError as error:
        raise CheckpointError(f"{folder}: {_FILE} is damaged ({error}): {CheckpointError.again}.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{folder}: {_FILE} is damaged (not a JSON object): {CheckpointError.again}.")
    ends = list(stop_ids(config.get("eos_token_id")))
    if path.is_file() and (not ends or stop_ids(values.get("eos_token_id"))):
        return content
    if not path.is_file():
        values = {key: value for key in ("bos_token_id", "pad_token_id") for value in stop_ids(config.get(key))[:1]}
    if ends:
        values["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    return (json.dumps(values, indent=2) + "\n").encode("utf-8")
