"""`edgesw verify`: whether a package is as it was written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import assert_one_line, edgesw, unchanged


@pytest.fixture
def copy(tiny_package: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_package, tmp_path / "package")


def flip(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


def test_a_package_as_it_was_written_passes(copy: Path) -> None:
    """Its files are counted by the disk, not by the manifest alone."""
    files = [path for path in copy.rglob("*") if path.is_file() and path.name != "manifest.json"]
    size = sum(path.stat().st_size for path in files)
    with unchanged(copy):
        ran = edgesw("verify", copy)
    assert ran.code == 0 and ran.err == ""
    assert ran.out == f"{copy}: {len(files)} files, {size / 1e3:.1f} kB: all unchanged.\n"
    told = json.loads(edgesw("verify", copy, "--json").out)
    assert told == {"package": str(copy), "verified": True, "files": len(files), "bytes": size}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda package: flip(package / "model.onnx.data"), "model.onnx.data is damaged: its SHA-256"),
        (lambda package: flip(package / "tokenizer.json"), "tokenizer.json is damaged: its SHA-256"),
        (lambda package: (package / "tokenizer.json").write_text("{}"), "tokenizer.json has 2 bytes, not"),
        (lambda package: (package / "README.md").unlink(), "README.md is missing"),
        (lambda package: (package / "extra.py").write_text("print()"), "extra.py is not in manifest.json"),
        (lambda package: (package / "model.mlpackage" / "x").write_text(""), "x is not in manifest.json"),
        (lambda package: (package / "link").symlink_to("/etc"), "link is not in manifest.json"),
    ],
)
def test_what_is_missing_altered_or_extra_is_named(change: Callable[[Path], object], said: str, copy: Path) -> None:
    """A download that broke off, or that somebody changed on the way: which file, so that it alone is fetched again."""
    change(copy)
    assert_one_line(edgesw("verify", copy), 1, said)
    assert_one_line(edgesw("verify", copy, "--json"), 1, said)


def test_a_link_out_of_the_package_is_refused(copy: Path, tmp_path: Path) -> None:
    """The same bytes elsewhere can be other bytes by the time they are loaded."""
    whole = copy / "model.onnx.data"
    whole.rename(tmp_path / "elsewhere")
    whole.symlink_to(tmp_path / "elsewhere")
    assert_one_line(edgesw("verify", copy), 1, "names a file outside the package: model.onnx.data")


def test_what_systems_leave_in_folders_is_passed_over(copy: Path) -> None:
    """Finder and the hub's client put hidden files into every folder: nobody has altered the package."""
    (copy / ".DS_Store").write_text("x")
    (copy / ".cache" / "huggingface").mkdir(parents=True)
    (copy / ".cache" / "huggingface" / "x.metadata").write_text("x")
    assert edgesw("verify", copy).code == 0


def test_a_package_that_coremltools_has_opened_passes(copy: Path) -> None:
    """It rewrites Manifest.json whenever it reads a package, on a Mac before each run."""
    pytest.importorskip("coremltools.libmodelpackage", reason="coremltools has no native build for this machine")
    from coremltools.models.utils import load_spec

    manifest = copy / "model.mlpackage" / "Manifest.json"
    before = manifest.stat().st_mtime_ns
    load_spec(str(copy / "model.mlpackage"))
    assert manifest.stat().st_mtime_ns > before, "it does not any more, so this tests nothing"
    assert edgesw("verify", copy).code == 0


def test_no_package_is_wrong_usage(tmp_path: Path) -> None:
    """A script must tell a wrong path from a damaged package."""
    assert_one_line(edgesw("verify", tmp_path), 2, "has no manifest.json")
