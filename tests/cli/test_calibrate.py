"""edgesw convert --calibrate: which text the matrices are fitted to."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from tiny import edgesw

from edgesw.package import read_manifest
from edgesw.texts import shipped_text

PALETTES = ["--target", "coreml", "--bits", "3"]


def weights_file(package: Path) -> bytes:
    return next(package.rglob("weight.bin")).read_bytes()


def test_each_choice_is_in_the_manifest_and_in_the_weights(tiny_llama: Path, tmp_path: Path) -> None:
    """A user with medical texts must get a package fitted to them, and be able to prove it."""
    text = tmp_path / "text.txt"
    text.write_text("One apple, two pears, and a great many plums. " * 60)
    expected = {
        "default": shipped_text("calibration").sha256,
        str(text): hashlib.sha256(text.read_bytes()).hexdigest(),
        "none": None,
    }
    seen = set()
    for number, (choice, sha256) in enumerate(expected.items()):
        package = tmp_path / str(number)
        ran = edgesw("convert", tiny_llama, *PALETTES, "--calibrate", choice, "-o", package)
        assert (ran.code, ran.err) == (0, "")
        assert read_manifest(package).calibration == sha256
        seen.add(weights_file(package))
    assert len(seen) == 3, "all three are the same package"


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xfa", b""], ids=["missing", "not UTF-8", "empty"])
def test_a_text_that_cannot_be_used_is_one_line_and_no_package(
    content: bytes | None, tiny_llama: Path, tmp_path: Path
) -> None:
    """A traceback, or a package fitted to nothing without a word, would be worse than no package."""
    text = tmp_path / "text.txt"
    if content is not None:
        text.write_bytes(content)
    ran = edgesw("convert", tiny_llama, *PALETTES, "--calibrate", text, "-o", tmp_path / "x")
    assert ran.code == 2 and ran.out == ""
    assert "text.txt" in ran.err and len(ran.err.strip().splitlines()) <= 2
    assert not (tmp_path / "x").exists()
