"""`convert --validate`."""

from __future__ import annotations

import json
from pathlib import Path

from tiny import edgesw


def test_one_command_converts_measures_and_tells_a_script(tiny_llama: Path, tmp_path: Path) -> None:
    """A release script that forgets the second command ships what nobody measured."""
    ran = edgesw("convert", tiny_llama, "--target", "onnx", "--validate", "-o", tmp_path / "good")
    assert ran.code == 0, ran.err
    assert "Next: edgesw validate" not in ran.out
    line = next(line for line in ran.out.splitlines() if line.startswith("onnx "))
    assert line.split()[1] == "pass"
    again = edgesw("validate", tmp_path / "good", "--against", tiny_llama)
    assert line in again.out.splitlines()
    words = ("--target", "onnx", "--activations", 8, "--ranges", "per-tensor", "--no-hold-out", "--validate", "--json")
    ran = edgesw("convert", tiny_llama, *words, "-o", tmp_path / "bad")
    assert ran.code == 3, ran.err
    found = json.loads(ran.out)
    assert found["validation"]["passed"] is False
    assert (tmp_path / "bad" / "manifest.json").exists(), "what failed is there to be looked at"


def test_figures_are_recorded_in_the_package(tiny_llama: Path, tmp_path: Path) -> None:
    """On the hub people see the card and nothing else; the package must still be the one that its checksums name."""
    ran = edgesw("convert", tiny_llama, "--target", "onnx", "--calibrate", "none", "-o", tmp_path / "p")
    assert ran.code == 0, ran.err
    assert "Not yet" in (tmp_path / "p" / "README.md").read_text()
    for windows in (1, 2):  # the second time in the place of the first
        words = ("--against", tiny_llama, "--windows", windows, "--max-kl", 1, "--min-top1", 1, "--json")
        ran = edgesw("validate", tmp_path / "p", *words, "--record")
        assert ran.code == 0, ran.err
        figures = json.loads((tmp_path / "p" / "validation.json").read_text())
        assert figures == json.loads(ran.out)
        card = (tmp_path / "p" / "README.md").read_text()
        found = figures["targets"]["onnx"]
        assert f"| onnx | {found['perplexity']:,.3f} | {found['float_perplexity']:,.3f} |" in card
        assert card.count("| onnx | ") == 2 and "Not yet" not in card
        assert f"On {6 * windows} windows" in card and "By kind of text, onnx: web " in card
        assert edgesw("validate", tmp_path / "p", *words).code == 0, "files and checksums still agree"
