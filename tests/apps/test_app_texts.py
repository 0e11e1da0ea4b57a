"""The demo app's texts: all can be translated, and all are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from swift_strings import localised

APP = Path(__file__).parents[2] / "apps" / "ios-demo" / "EdgeSWDemo"
SOURCES = sorted(APP.rglob("*.swift"))
VALUE = re.compile(r"%(?:\d\$)?@")


@pytest.fixture(scope="module")
def catalog() -> dict[str, Any]:
    read = json.loads((APP / "Resources" / "Localizable.xcstrings").read_text(encoding="utf-8"))
    assert read["sourceLanguage"] == "en" and read["version"] == "1.0"
    return read["strings"]


@pytest.fixture(scope="module")
def texts() -> set[str]:
    return {text for source in SOURCES for text in localised(source)}


def test_the_reader_of_sources_finds_texts(tmp_path: Path) -> None:
    """A text that the reader missed would stay untranslated while the test below passes."""
    source = tmp_path / "x.swift"
    source.write_text(
        'Text("a \\(f(1)) b")\nText(verbatim: "no")\nButton(\n "Go %", systemImage: "no") {}\n'
        '// Text("no")\nString(localized: "\\"q\\" \\(x(["k"])).")\nx.accessibilityHint(Text("h"))\n'
    )
    assert list(localised(source)) == ["a %@ b", "Go %%", '"q" %@.', "h"]


def test_every_text_is_in_the_catalog_and_every_entry_is_used(texts: set[str], catalog: dict[str, Any]) -> None:
    """A missing text is shown in English to everyone; an unused one is wasted work for translators."""
    assert len(texts) > 80, "the reader finds hardly any texts"
    assert texts - catalog.keys() == set()
    assert catalog.keys() - texts == set()


def test_every_text_is_german_too_with_the_same_values(catalog: dict[str, Any]) -> None:
    """A translation that lacks a value crashes the app; one with an extra value shows random memory."""
    for key, entry in catalog.items():
        for language, translation in entry["localizations"].items():
            unit = translation["stringUnit"]
            assert unit["state"] == "translated" and unit["value"], key
            found, wanted = VALUE.findall(unit["value"]), len(VALUE.findall(key))
            if wanted > 1:
                assert sorted(found) == [f"%{number}$@" for number in range(1, wanted + 1)], (key, language)
            else:
                assert len(found) == wanted, (key, language)
        assert "de" in entry["localizations"], key


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_no_text_escapes_translation(source: Path) -> None:
    """`Text(flag ? "a" : "b")` and `Text("a" + b)` compile, and are never looked up."""
    code = source.read_text(encoding="utf-8")
    assert not re.search(r'\b(?:Text|Label|Button|Toggle)\([^()"]*\?\s*"', code)
    assert not re.search(r'\b(?:Text|Label|Button|Toggle)\("(?:[^"\\]|\\.)*"\s*\+', code)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_no_size_of_type_is_fixed(source: Path) -> None:
    """Users who set a larger type size in the system's settings would not get it."""
    assert not re.search(r"\.system\(size:|\.custom\([^)]*fixedSize|UIFont\.systemFont", source.read_text())
