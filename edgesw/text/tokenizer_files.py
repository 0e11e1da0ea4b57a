"""The files of a tokenizer, as far as they are read here: which there are, what they name, and where a text ends."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from edgesw.errors import EdgeswError
from edgesw.files.json_file import parse_json

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "generation_config.json",
)
LARGEST = 256 << 20
"""More bytes than any file of a tokenizer has: the largest that are published have 35 MB."""
NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""The special tokens that tokenizer_config.json names."""


@contextlib.contextmanager
def reading(where: str, error: type[EdgeswError]) -> Iterator[None]:
    """Turns whatever the tokenizers library raises for a damaged tokenizer.json into `error`."""
    try:
        yield
    except BaseException as cause:
        # The library raises plain Exception, and panics with a class of its own that is none.
        if not isinstance(cause, Exception) and type(cause).__name__ != "PanicException":
            raise
        said = "reading it takes too much memory" if isinstance(cause, MemoryError) else " ".join(str(cause).split())
        raise error(f"{where}: tokenizer.json is damaged ({said}): {error.again}.") from cause


def stop_ids(value: Any) -> tuple[int, ...]:
    """The token ids in an `eos_token_id`: a single one, a list, or none (null; some models write -1)."""
    found = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(number for number in found if type(number) is int and 0 <= number < 2**31))


def check_charsmaps(content: bytes) -> None:
    """Raises ValueError for a table of characters to replace that would crash the process when the library reads it."""
    # Parsing takes a tenth of a second: only files with such a table, or its name spelled in escapes, are parsed.
    if b"precompiled_charsmap" not in content and b"\\u00" not in content:
        return
    from edgesw.text.charsmap import check_charsmap  # imports numpy, which few tokenizers need

    places = [parse_json(content)]
    while places:
        place = places.pop()
        if isinstance(place, dict) and isinstance(table := place.get("precompiled_charsmap"), str):
            check_charsmap(base64.b64decode(table, validate=True))
        places += place.values() if isinstance(place, dict) else place if isinstance(place, list) else ()


def read_table(files: Mapping[str, bytes], name: str, where: str, error: type[EdgeswError]) -> dict[str, Any]:
    """The content of a JSON file; empty if there is no such file."""
    try:
        table = parse_json(files.get(name, b"{}"))
    except ValueError as cause:
        raise error(f"{where}: {name} is damaged ({cause}): {error.again}.") from cause
    if not isinstance(table, dict):
        raise error(f"{where}: {name} is damaged (not a JSON object): {error.again}.")
    return table


def special_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens by the names that templates know them by, as transformers binds them."""
    own = settings.get("model_specific_special_tokens")
    found = {name: settings.get(name) for name in NAMED_TOKENS} | (own if isinstance(own, dict) else {})
    texts = {name: _token(value) for name, value in found.items()}
    return {name: text for name, text in texts.items() if text is not None}


def _token(value: Any) -> str | None:
    """A special token's text, which some versions write as `{"content": text, ...}`."""
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else None


def template_of(value: Any) -> str | None:
    """The chat template of tokenizer_config.json, which holds a single one, or named ones as a list or an object."""
    if isinstance(value, list):
        value = {entry.get("name"): entry.get("template") for entry in value if isinstance(entry, dict)}
    if isinstance(value, dict):
        value = value.get("default")
    return value if isinstance(value, str) else None
