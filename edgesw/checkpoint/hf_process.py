"""What the process of edgesw.checkpoint.hf_reader does: it reads a folder's configuration and tokenizer with
transformers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgesw import errors
from edgesw.checkpoint import hf_config_reading, hf_tokenizer_reading

# Neither needs torch, which would take three times as long to import as all the rest.
sys.modules["torch"] = None  # type: ignore[assignment]
hf_config_reading.import_transformers()
hf_tokenizer_reading.import_transformers()


def _config(given: Mapping[str, Any], files: Sequence[bytes]) -> tuple[Any, Sequence[bytes]]:
    try:
        return hf_config_reading.read_config(given["config"], given["model_type"]), ()
    except Exception as error:  # what validates the fields wraps the error that says what is wrong
        raise (error.__cause__ or error) from None


def _tokenizer(given: Mapping[str, Any], files: Sequence[bytes]) -> tuple[Any, Sequence[bytes]]:
    try:
        found = hf_tokenizer_reading.read_tokenizer(Path(given["folder"]), Path(given["scratch"]))
    except errors.EdgeswError as error:
        raise type(error)(str(error).replace(given["folder"], given["shown"])) from error
    return list(found), list(found.values())


HANDLERS = {"config": _config, "tokenizer": _tokenizer}
