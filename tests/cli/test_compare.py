"""`edgesw compare`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import assert_one_line, edgesw, save_llama, unchanged


@pytest.fixture(scope="module")
def small(converted: Callable[..., Path]) -> Path:
    return converted("--target", "onnx", "--bits", 2, "--calibrate", "none")


def test_packages_stand_side_by_side(tiny_llama: Path, tiny_package: Path, small: Path, tmp_path: Path) -> None:
    """Whoever has to choose between packages goes by these rows: they must be what each would say by itself."""
    words = ("--against", tiny_llama, "--windows", 1)
    ran = edgesw("compare", tiny_package, small, *words, "--plot", tmp_path / "plot.svg", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert [(each["package"], each["target"]) for each in found] == [
        (str(tiny_package), "coreml"), (str(tiny_package), "onnx"), (str(small), "onnx"),
    ]  # fmt: skip
    for package, rows in ((tiny_package, found[:2]), (small, found[2:])):
        alone = json.loads(edgesw("validate", package, *words, "--max-perplexity-increase", 1000, "--json").out)
        for row in rows:
            figures = alone["targets"][row["target"]]
            assert row["agreement"]["perplexity"] == figures["perplexity"]
            assert row["agreement"]["kl_divergence"] == figures["kl_divergence"]
            assert row["bytes"] == figures["bytes"]
    assert found[2]["bytes"] < found[1]["bytes"]
    assert found[2]["agreement"]["kl_divergence"] > found[1]["agreement"]["kl_divergence"]
    assert found[0]["decode_per_second"] is None or found[0]["decode_per_second"] > 0
    assert found[1]["decode_per_second"] > 0 and found[1]["prefill_per_second"] > 0
    assert "<svg" in (tmp_path / "plot.svg").read_text()
    table = edgesw("compare", tiny_package, small, *words, "--no-speed").out.splitlines()
    assert len(table) == 5 and table[4].split()[:2] == [str(small), "onnx"]


def test_packages_of_different_models_are_not_compared(tiny_package: Path, tmp_path: Path) -> None:
    """Divergence from one float model says nothing of a package of another."""
    save_llama(tmp_path / "Other", steps=0)
    words = ("--target", "onnx", "--calibrate", "none", "-o", tmp_path / "other")
    assert edgesw("convert", tmp_path / "Other", *words).code == 0
    with unchanged(tmp_path):
        assert_one_line(edgesw("compare", tiny_package, tmp_path / "other"), 2, "Other", "of one model")
    assert_one_line(edgesw("compare", tiny_package, "--plot", tmp_path / "plot.bmp"), 2, ".png or .svg")
