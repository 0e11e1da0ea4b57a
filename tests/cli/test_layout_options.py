"""`edgesw convert --compute/--lengths/--chunks` and what runs of it here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny


def test_a_chunked_neural_engine_package_says_what_the_default_one_says(tiny_llama: Path, tmp_path: Path) -> None:
    """The same palettes in two shapes: greedy text must not depend on how the program is cut and called."""
    said = []
    for name, options in (
        ("plain", ["--scheme", "palette"]),
        ("ane", ["--compute", "ane", "--lengths", "1,8", "--chunks", "2"]),
    ):
        package = tmp_path / name
        ran = tiny.edgesw(
            "convert", tiny_llama, "--target", "coreml", "--bits", "8", "--calibrate", "none", *options, "-o", package
        )
        assert ran.code == 0, ran.err
        said.append(tiny.edgesw("generate", package, "The river and the", "--max-tokens", 12).out)
    assert said[0] == said[1] != ""
    manifest = json.loads((package / "manifest.json").read_text())
    (model,) = manifest["models"].values()
    assert model["path"] == "model-chunks"
    assert model["options"] == {
        "compute": "ane",
        "lengths": [1, 8],
        "chunks": 2,
        "ablation": False,
        "functions": [
            {"name": "decode", "lengths": [1], "corrected": True},
            {"name": "prefill", "lengths": [8], "corrected": True},
        ],
    }
    assert "model-chunks/2-of-2.mlpackage/Manifest.json" in manifest["files"]
    validated = tiny.edgesw("validate", package, "--against", tiny_llama, "--windows", 1, "--tokens", 24)
    assert validated.code == 0, validated.err + validated.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "onnx", "--compute", "ane"], "add --target coreml"),
        (["--target", "coreml", "--chunks", "three"], "neither a number of chunks nor auto"),
        (["--target", "coreml", "--chunks", "0"], "neither a number of chunks nor auto"),
        (["--target", "coreml", "--chunks", "9"], "2 layers"),
        (["--target", "coreml", "--lengths", "1,,2"], "no list of lengths"),
        (["--target", "coreml", "--lengths", "5000"], "out of range"),
        (["--target", "coreml", "--compute", "ane", "--scheme", "block"], "choose from palette"),
        (["--target", "onnx", "--ablation"], "add --target coreml"),
        (["--target", "coreml", "--ablation", "--no-hold-out"], "give one of them"),
        (["--target", "coreml", "--ablation", "--activations", "8"], "mutually exclusive"),
    ],
)
def test_a_shape_that_cannot_be_ends_in_one_line(
    tiny_llama: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    ran = tiny.edgesw("convert", tiny_llama, *options, "-o", tmp_path / "package")
    assert ran.code == 2 and message in ran.err and ran.err.count("\n") == 1
    assert not (tmp_path / "package").exists()


def test_auto_leaves_a_small_model_whole(tiny_llama: Path, tmp_path: Path) -> None:
    ran = tiny.edgesw("convert", tiny_llama, "--target", "coreml", "--chunks", "auto", "--dry-run")
    assert ran.code == 0, ran.err
    package = tmp_path / "package"
    assert (
        tiny.edgesw(
            "convert", tiny_llama, "--target", "coreml", "--chunks", "auto", "--calibrate", "none", "-o", package
        ).code
        == 0
    )
    assert (package / "model.mlpackage").is_dir()


def test_what_holding_out_does_can_be_seen(tiny_llama: Path, tmp_path: Path) -> None:
    """The idea of the tool in one command: the same package with and without a handful of scalars."""
    package, text = tmp_path / "package", tmp_path / "text.txt"
    text.write_text("A river and A road. " * 40)  # "A" is what the super weight acts on
    words = ("--target", "coreml", "--target", "onnx", "--calibrate", "none", "--ablation", "-o", package)
    ran = tiny.edgesw("convert", tiny_llama, *words)
    assert ran.code == 0, ran.err
    measuring = ("--text", text, "--windows", 1, "--tokens", 48, "--max-perplexity-increase", 100, "--record")
    ran = tiny.edgesw("validate", package, "--against", tiny_llama, *measuring)
    assert ran.code == 0, ran.err + ran.out
    assert "Without what is held out, coreml has perplexity" in ran.out
    measured = json.loads((package / "validation.json").read_text())
    with_it, without = (measured[part]["coreml"]["kl_divergence"] for part in ("targets", "uncorrected"))
    assert without > 10 * with_it, (with_it, without)
    assert list(measured["uncorrected"]) == ["coreml"]
    prompt = ("generate", package, "The river and the", "--max-tokens", 8)
    whole, bare = tiny.edgesw(*prompt), tiny.edgesw(*prompt, "--uncorrected")
    assert whole.code == bare.code == 0 and bare.out


def test_an_ablation_that_is_not_there_ends_in_one_line(converted: Callable[..., Path]) -> None:
    package = converted("--target", "coreml", "--calibrate", "none")
    ran = tiny.edgesw("generate", package, "a", "--uncorrected")
    assert ran.code == 2 and "--ablation" in ran.err and ran.err.count("\n") == 1
