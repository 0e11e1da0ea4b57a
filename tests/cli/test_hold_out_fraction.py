"""--hold-out-fraction: scalars held out by the harm that rounding does them, from the command line to both packages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny import assert_one_line, compressed_llama, edgesw, logits_of, unrounded

from edgesw.package.manifest import read_manifest
from edgesw.targets.registry import TARGETS

BOTH = ("--target", "coreml", "--target", "onnx")


@pytest.fixture(scope="module")
def package(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fraction") / "package"
    ran = edgesw("convert", tiny_llama, *BOTH, "--hold-out-fraction", "0.005", "-o", folder)
    assert ran.code == 0, ran
    assert "0.005 of the other scalars" in ran.out
    return folder


@pytest.mark.parametrize("target", ["coreml", "onnx"])
def test_both_packages_put_the_scalars_back(target: str, package: Path, tiny_llama: Path) -> None:
    """What a graph leaves out is the very part that was worth its bytes."""
    manifest = read_manifest(package)
    ids = np.arange(3, 40)
    path = package / manifest.models[target].path
    decoder = TARGETS[target].open(unrounded(path) if target == "onnx" else path, manifest.context, precision="float32")
    ours, expected = decoder.step(ids), logits_of(compressed_llama(tiny_llama, package), ids)
    assert np.abs(ours - expected).max() < 0.02 * max(1, np.abs(expected).max())


def test_what_it_takes_is_told_before_and_after(package: Path, tiny_llama: Path) -> None:
    """Bytes that no figure counts would make us look better than we are."""
    dry = ("convert", tiny_llama, *BOTH, "--dry-run", "--json")
    with_scalars, without = (
        json.loads(edgesw(*dry, *more).out)["correction_bytes"] for more in (("--hold-out-fraction", "0.005"), ())
    )
    manifest = read_manifest(package)
    shapes = [manifest.decoder.matrix_shape(name) for name in manifest.decoder.matrices()]
    scalars = sum(round(0.005 * rows * columns) * 10 for rows, columns in shapes)
    assert with_scalars - without == 2 * scalars
    whole = sum(
        len(columns) * (2 * manifest.decoder.matrix_shape(name)[0] + 4)
        for name, columns in manifest.held_out_columns.items()
    )
    assert manifest.correction_bytes == whole + scalars
    assert manifest.settings.hold_out_fraction == 0.005
    assert "0.005 of each matrix" in (package / "README.md").read_text(encoding="utf-8")


def test_what_makes_no_sense_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    """To hold nothing out and a share all the same, or more than a share, is a slip of the pen."""
    start = ("convert", tiny_llama, *BOTH, "-o", tmp_path / "package", "--hold-out-fraction")
    assert_one_line(edgesw(*start, "1e-4", "--no-hold-out"), 2, "--no-hold-out", "--hold-out-fraction")
    assert edgesw(*start, "0.5").code == 2
    assert not (tmp_path / "package").exists()
