"""The validation text by kinds ships whole, is plain UTF-8, and shares no sentence with any other shipped text."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import combinations

import pytest

KINDS = {
    "web": 12_000,
    "technical": 12_000,
    "dialogue": 12_000,
    "code": 12_000,
    "encyclopedia": 12_000,
    "languages": 9_000,
}
"""The least number of characters of each kind."""
SCRIPTS = {
    "Cyrillic": "\u0400-\u04ff",
    "Arabic": "\u0600-\u06ff",
    "Devanagari": "\u0900-\u097f",
    "kana": "\u3040-\u30ff",
    "Han": "\u4e00-\u9fff",
    "Hangul": "\uac00-\ud7a3",
}
DATA = files("edgesw.text").joinpath("data")


def _paths() -> dict[str, str]:
    return {"calibration": "calibration.txt", "validation": "validation.txt"} | {
        kind: f"validation/{kind}.txt" for kind in KINDS
    }


def _sequences(content: str, words: int = 8) -> set[tuple[str, ...]]:
    found = re.findall(r"\w+", content.lower())
    return {tuple(found[at : at + words]) for at in range(len(found) - words + 1)}


def test_the_folder_holds_these_kinds_and_nothing_else() -> None:
    """A kind that nobody checks here would be measured on all the same."""
    assert {item.name for item in DATA.joinpath("validation").iterdir()} == {f"{kind}.txt" for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_long_enough_and_plain_utf8(kind: str) -> None:
    """Too short, its figures would be noise; with CRLF or a byte-order mark, they would differ between machines."""
    raw = DATA.joinpath(_paths()[kind]).read_bytes()
    content = raw.decode("utf-8", errors="strict")
    assert len(content) >= KINDS[kind]
    assert not content.startswith("\ufeff")
    assert "\r" not in content
    assert "\ufffd" not in content
    assert content.endswith("\n") and not content.endswith("\n\n")


def test_the_languages_reach_beyond_latin_script_from_the_beginning() -> None:
    """Windows are cut from the beginning: with a script far down, a short measurement would not see it."""
    begins = DATA.joinpath(_paths()["languages"]).read_text(encoding="utf-8")[:4000]
    for script, letters in SCRIPTS.items():
        assert len(re.findall(f"[{letters}]", begins)) >= 50, script


def test_no_eight_words_of_one_shipped_text_occur_in_another() -> None:
    """A sentence of the calibration text in a validation text would flatter every calibrated package."""
    sequences = {name: _sequences(DATA.joinpath(path).read_text(encoding="utf-8")) for name, path in _paths().items()}
    shared = {
        (one, other): sorted(" ".join(words) for words in sequences[one] & sequences[other])
        for one, other in combinations(sequences, 2)
        if sequences[one] & sequences[other]
    }
    assert not shared
