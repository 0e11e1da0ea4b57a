"""`edgesw inspect`: tables for people, JSON for programs, and one line for what cannot be read."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from tiny import assert_one_line, edgesw


def test_a_package_is_told_model_by_model(tiny_package: Path) -> None:
    """Layers with equal matrices are one row: thirty times the same would hide what differs."""
    ran = edgesw("inspect", tiny_package)
    assert ran.code == 0 and ran.err == ""
    onnx = ran.out[ran.out.index("model.onnx: ONNX, opset 21") :]
    assert "model.mlpackage: Core ML, specification 9" in ran.out
    for kind, shape, count in (("down_proj", "64 x 160", 2), ("gate_up_proj", "320 x 64", 2)):
        assert re.search(rf"^{kind} +{shape} +block 4 bits, blocks of 32, zero points +0-1 +{count} ", onnx, re.M), onnx
    assert re.search(r"^embed_tokens +320 x 64 +block 8 bits, blocks of 32 +1 ", onnx, re.M)
    assert re.search(r"^past_key_values\.\*\.key +input +float32 .* 0-1", onnx, re.M)
    assert re.search(r"^on disk ", onnx, re.M) and "com.microsoft.MatMulNBits 9" in onnx
    held = json.loads((tiny_package / "manifest.json").read_text())["held_out_columns"]
    count = sum(len(columns) for name, columns in held.items() if name.endswith("down_proj"))
    assert count > 0 and re.search(rf"^down_proj .* {count} columns? ", onnx, re.M)
    assert edgesw("inspect", tiny_package / "model.onnx").out == f"{tiny_package}/{onnx}"


def test_json_has_every_matrix_and_what_the_package_says(tiny_package: Path) -> None:
    """Programs that compare packages read this."""
    ran = edgesw("inspect", tiny_package, "--json")
    assert ran.code == 0 and ran.err == ""
    told = json.loads(ran.out)
    manifest = json.loads((tiny_package / "manifest.json").read_text())
    assert (
        told["super_weights"] == manifest["super_weights"] and told["held_out_columns"] == manifest["held_out_columns"]
    )
    for model in told["models"]:
        assert sum(model["bytes_by_kind"].values()) == model["disk_bytes"]
        names = [weight["name"] for weight in model["weights"]]
        assert {"layers.0.down_proj", "layers.1.down_proj", "layers.0.mlp_norm"} <= set(names)
        layers = [weight for weight in model["weights"] if weight["compressed"] and "." in weight["name"]]
        bits = 8 * sum(weight["stored_bytes"] for weight in layers)
        target = {"Core ML": "coreml", "ONNX": "onnx"}[model["format"]]
        planned = manifest["models"][target]["stored_bits"]
        # ONNX fills up each row's zero points to whole bytes; the plan does not count that.
        assert bits / sum(each["shape"][0] * each["shape"][1] for each in layers) == pytest.approx(planned, rel=0.01)


def test_what_cannot_be_inspected_is_one_line(tiny_llama: Path, tiny_package: Path, tmp_path: Path) -> None:
    """Each says what would do instead: the user has a path too many or too few."""
    assert_one_line(edgesw("inspect", tmp_path / "none.onnx"), 2, "does not exist", "give an edgesw package")
    assert_one_line(edgesw("inspect", tiny_llama), 2, "is not a model that edgesw reads", ".mlpackage or .onnx")
    assert_one_line(edgesw("inspect", tiny_llama / "model.safetensors"), 2, "is not a model that edgesw reads")
    (tmp_path / "text.onnx").write_text("hello")
    assert_one_line(edgesw("inspect", tmp_path / "text.onnx"), 2, "not an ONNX model")
    (tmp_path / "folder.onnx").mkdir()
    assert_one_line(edgesw("inspect", tmp_path / "folder.onnx"), 2, "is not a model that edgesw reads")
    (tmp_path / "empty.mlpackage").mkdir()
    assert_one_line(edgesw("inspect", tmp_path / "empty.mlpackage"), 2, "not an .mlpackage")
    assert_one_line(edgesw("inspect", tmp_path), 2, "a folder without manifest.json", "empty.mlpackage")
    shutil.copytree(tiny_package, tmp_path / "package")
    (tmp_path / "package" / "model.onnx.data").unlink()
    assert_one_line(edgesw("inspect", tmp_path / "package"), 2, "model.onnx.data is missing")
    (tmp_path / "package" / "manifest.json").write_text("{")
    assert_one_line(edgesw("inspect", tmp_path / "package"), 2, "manifest.json is damaged")
