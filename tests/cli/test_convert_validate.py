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
    words = ("--target", "onnx", "--activations", 8, "--ranges", "tensor", "--no-hold-out", "--validate", "--json")
    ran = edgesw("convert", tiny_llama, *words, "-o", tmp_path / "bad")
    assert ran.code == 3, ran.err
    found = json.loads(ran.out)
    assert found["validation"]["passed"] is False
    assert (tmp_path / "bad" / "manifest.json").exists(), "what failed is there to be looked at"
