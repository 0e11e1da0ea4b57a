"""What the process of edgesw.checkpoint.hf_tokenizer does: it reads a folder's tokenizer with transformers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgesw import errors
from edgesw.checkpoint import hf_tokenizer_reading

# Tokenizers need no torch, which would take twice as long to import as all the rest.
sys.modules["torch"] = None  # type: ignore[assignment]
hf_tokenizer_reading.import_transformers()


def _read(given: Mapping[str, Any], files: Sequence[bytes]) -> tuple[Any, Sequence[bytes]]:
    try:
        found = hf_tokenizer_reading.read_tokenizer(Path(given["folder"]), Path(given["scratch"]))
    except errors.EdgeswError as error:
        raise type(error)(str(error).replace(given["folder"], given["shown"])) from error
    return list(found), list(found.values())


HANDLERS = {"read": _read}
