"""`--calibrate`: the shipped text, a file, or none."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tiny import SUPER_WEIGHT, assert_one_line, edgesw

from edgesw.package.manifest import read_manifest
from edgesw.text.texts import shipped_text

WEIGHTS = "model.onnx.data"


def convert(model: Path, output: Path, *more: object) -> list[object]:
    return ["convert", model, "--target", "onnx", "-o", output, *more]


def test_a_text_of_ones_own_is_used_and_named_by_its_hash(tiny_llama: Path, tiny_package: Path, tmp_path: Path) -> None:
    """Whoever gets the package must be able to tell what it was fitted to, and that it was."""
    text = tmp_path / "mine.txt"
    text.write_text("Näher am Meer; 12 boats, and a ferry at six. " * 300, encoding="utf-8")
    ran = edgesw(*convert(tiny_llama, tmp_path / "mine", "--calibrate", text))
    assert ran.code == 0, ran.err
    assert read_manifest(tmp_path / "mine").calibration.text_sha256 == hashlib.sha256(text.read_bytes()).hexdigest()
    assert read_manifest(tiny_package).calibration.text_sha256 == shipped_text("calibration").sha256
    assert (tmp_path / "mine" / WEIGHTS).read_bytes() != (tiny_package / WEIGHTS).read_bytes()


def test_without_a_text_super_weights_are_still_held_out(tiny_llama: Path, tmp_path: Path) -> None:
    """Detection needs no text: `none` must not cost the super weights."""
    ran = edgesw(*convert(tiny_llama, tmp_path / "package", "--calibrate", "none"))
    assert ran.code == 0, ran.err
    manifest = read_manifest(tmp_path / "package")
    assert manifest.calibration is None
    assert [w.coordinates for w in manifest.super_weights] == [SUPER_WEIGHT]
    assert manifest.held_out_columns == {"layers.0.down_proj": [SUPER_WEIGHT[2]]}


def test_what_cannot_be_calibrated_on_is_said_before_anything_is_read(tiny_llama: Path, tmp_path: Path) -> None:
    """A misspelt file found out about after half an hour of detection is half an hour lost."""
    output, latin = tmp_path / "package", tmp_path / "latin.txt"
    latin.write_bytes("Fähre".encode("latin-1"))
    missing = edgesw(*convert(tiny_llama, output, "--calibrate", tmp_path / "nothing.txt"))
    assert_one_line(missing, 2, "--calibrate", "nothing.txt", "No such file")
    assert_one_line(edgesw(*convert(tiny_llama, output, "--calibrate", latin)), 2, "not UTF-8")
    mixed = edgesw(*convert(tiny_llama, output, "--bits", "3.5", "--calibrate", "none"))
    assert_one_line(mixed, 2, "--calibrate none", "--bits")
    assert not output.exists()
