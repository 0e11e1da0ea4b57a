"""Loads texts to validate and calibrate on: the two that ship with edgesw, a file, or WikiText-2 from the hub."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np

from edgesw.errors import EdgeswError, UsageError, first_line
from edgesw.system.log_filter import only_errors
from edgesw.system.sizes import counted
from edgesw.text.tokenizer import Tokenizer

# llama.cpp's copy of the raw test set: a small zip, whereas the data set itself is in Parquet.
WIKITEXT_REPO, WIKITEXT_FILE = "ggml-org/ci", "wikitext-2-raw-v1.zip"
WIKITEXT_MEMBER = "wikitext-2-raw/wiki.test.raw"

# The kinds of the validation text that ships: a package may be close to the float model on prose and far off on code.
KINDS = ("web", "technical", "dialogue", "code", "languages", "encyclopedia")


@dataclass(frozen=True)
class Text:
    """A text and its name in reports."""

    name: str
    content: str
    shipped: bool = False
    """Whether it ships with edgesw."""
    kind: str = ""
    """Of the shipped validation text, which has several."""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content.encode()).hexdigest()


def shipped_text(name: str) -> Text:
    """The `validation` or the `calibration` text, both written for this project; only the former is measured on."""
    content = files("edgesw.text").joinpath("data", f"{name}.txt").read_text(encoding="utf-8")
    return Text(f"shipped {name} text", content, shipped=True)


def load_texts(name: str | None) -> tuple[Text, ...]:
    """The shipped validation text for None, a text of each kind; else the one that `load_text` gives for this name."""
    if name is not None:
        return (load_text(name),)
    return tuple(
        replace(shipped_text(f"validation/{kind}"), name="shipped validation text", kind=kind) for kind in KINDS
    )


def load_text(name: str | None) -> Text:
    """A shipped text of prose for None, WikiText-2 for `wikitext2`, else a UTF-8 file.

    Raises UsageError for a file that cannot be read, EdgeswError if WikiText-2 cannot be fetched.
    """
    if name is None:
        return shipped_text("validation")
    if name == "wikitext2" and not Path(name).exists():
        return Text("WikiText-2 test", _wikitext2())
    return load_file(name, "--text", "wikitext2")


def load_file(name: str, option: str, *others: str) -> Text:
    """A UTF-8 file. Raises UsageError if it cannot be read, naming `option` and the other values that it takes."""
    path = Path(name)
    try:
        return Text(path.name, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(
            f"'{name}' is not UTF-8 text: {error.reason} at byte {error.start}. Save it as UTF-8."
        ) from error
    except OSError as error:
        give = ", or ".join(("a text file", *others))
        raise UsageError(f"{option} '{name}': {error.strerror}. Give {give}.") from error


def windows(text: Text, tokenizer: Tokenizer, count: int, tokens: int) -> np.ndarray:
    """The first `count` windows of the text, int64 (windows, tokens), each beginning as the tokenizer begins a text.

    Windows do not overlap. A text too short for `count` gives fewer, and one too short for a whole window gives a
    single short one. Raises UsageError for a text of fewer than two tokens.
    """
    return windows_by_kind([text], tokenizer, count, tokens)[0]


def windows_by_kind(
    texts: Sequence[Text], tokenizer: Tokenizer, count: int, tokens: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """(the first `count` windows of each text as `windows` gives them, the kind of each window). All are as long as the
    shortest text allows."""
    encoded = [tokenizer.encode(text.content, add_special_tokens=False) for text in texts]
    start = list(tokenizer.prefix_ids)
    each = min(max(1, tokens - len(start)), *map(len, encoded))
    if not each or len(start) + each < 2:
        short = min(zip(encoded, texts, strict=True), key=lambda one: len(one[0]))[1]
        raise UsageError(f"{short.name}: too short to measure on ({counted(each, 'token')}): give a longer text.")
    rows = [
        (start + ids[at * each : (at + 1) * each], text.kind)
        for ids, text in zip(encoded, texts, strict=True)
        for at in range(min(count, len(ids) // each))
    ]
    return np.array([row for row, _ in rows], np.int64), tuple(kind for _, kind in rows)


def wikitext_from_zip(path: Path) -> str:
    """The test set as the GPTQ papers join it: rows separated by a blank line, empty rows included."""
    with zipfile.ZipFile(path) as archive:
        lines = archive.read(WIKITEXT_MEMBER).decode("utf-8").splitlines(keepends=True)
    return "\n\n".join(line if line.strip() else "" for line in lines)


def _wikitext2() -> str:
    from huggingface_hub import hf_hub_download

    try:
        with only_errors("huggingface_hub"):  # it logs each attempt
            return wikitext_from_zip(Path(hf_hub_download(WIKITEXT_REPO, WIKITEXT_FILE, repo_type="dataset")))
    except Exception as error:  # any error of the HTTP client inside huggingface_hub
        raise EdgeswError(
            f"WikiText-2 cannot be fetched from the hub ({first_line(error)}): leave out --text to use the shipped "
            "text, or give a file."
        ) from error
