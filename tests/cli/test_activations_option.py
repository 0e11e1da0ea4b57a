"""`convert --activations 8`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import assert_one_line, edgesw, unchanged

from edgesw.package.manifest import read_manifest


@pytest.mark.parametrize(
    ("target", "ranges"),
    [
        ("onnx", "per-token"),
        pytest.param("onnx", "per-tensor", marks=pytest.mark.slow),
        pytest.param("onnx", "static", marks=pytest.mark.slow),
        ("coreml", "static"),
    ],
)
def test_a_package_keeps_its_perplexity(target: str, ranges: str, tiny_llama: Path, tmp_path: Path) -> None:
    """The tiny model has a super activation of thousands: the range of all inputs, unless it is held out."""
    ran = edgesw(
        "convert", tiny_llama, "--target", target, "--activations", 8, "--ranges", ranges, "-o", tmp_path / "p"
    )
    assert ran.code == 0, ran.err
    settings = read_manifest(tmp_path / "p").settings
    assert (settings.bits, settings.activations) == (8, ranges)
    ran = edgesw("validate", tmp_path / "p", "--against", tiny_llama)
    assert ran.code == 0, ran.out


def test_without_hold_out_a_shared_range_is_ruined(tiny_llama: Path, tmp_path: Path) -> None:
    """What the test above stands against."""
    words = ("--activations", 8, "--ranges", "per-tensor", "--no-hold-out")
    ran = edgesw("convert", tiny_llama, "--target", "onnx", *words, "-o", tmp_path / "p")
    assert ran.code == 0, ran.err
    assert edgesw("validate", tmp_path / "p", "--against", tiny_llama).code == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ranges", "per-token"), "--activations 8"),
        (("--activations", 8, "--bits", 4), "--bits 8"),
        (("--activations", 8, "--size", "1MB"), "--size"),
        (("--activations", 8, "--group-size", 32), "--group-size"),
        (("--activations", 8, "--scheme", "palette"), "choose from block"),
        (("--activations", 8, "--ranges", "static", "--calibrate", "none"), "--calibrate"),
        (("--activations", 8, "--ranges", "per-token", "--target", "coreml"), "static"),
        (("--activations", 4), "--activations"),
    ],
)
def test_what_does_not_go_together_is_refused_at_once(
    words: tuple[object, ...], said: str, tiny_llama: Path, tmp_path: Path
) -> None:
    """After minutes of conversion would be too late."""
    with unchanged(tmp_path):
        ran = edgesw("convert", tiny_llama, "--target", "onnx", *words, "-o", tmp_path / "p")
    assert_one_line(ran, 2, said)
