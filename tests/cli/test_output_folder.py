"""Where a conversion writes: nothing of the user's is lost, and nothing half done is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from file_limit import files_up_to
from tiny import assert_one_line, edgesw, unchanged

from edgesw.package.manifest import read_manifest
from edgesw.package.publish import check_files


def convert(model: Path, output: Path, *more: str, target: str = "onnx") -> list[object]:
    return ["convert", model, "--target", target, "--calibrate", "none", "-o", output, *more]


@pytest.fixture
def package(tiny_package: Path, tmp_path: Path) -> Path:
    """A copy of a finished package, in a folder of its own."""
    (tmp_path / "out").mkdir()
    return Path(shutil.copytree(tiny_package, tmp_path / "out" / "package"))


def test_an_existing_folder_is_kept(tiny_llama: Path, package: Path) -> None:
    """Hours of work, or somebody's only copy, lost to a second press of the up key."""
    with unchanged(package.parent):
        assert_one_line(edgesw(*convert(tiny_llama, package)), 2, f"'{package}' exists", "-o", "--force")


def test_force_replaces_a_package(tiny_llama: Path, package: Path) -> None:
    ran = edgesw(*convert(tiny_llama, package, "--force", "--bits", "8"))
    assert ran.code == 0, ran.err
    manifest = read_manifest(package)
    assert manifest.settings.bits == 8
    assert not (package / "model.mlpackage").exists(), "what the old package had and the new one has not must go"
    check_files(package, manifest, contents=True)
    assert [path.name for path in package.parent.iterdir()] == ["package"]


def test_force_replaces_an_empty_folder_also_from_inside(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mkdir x; cd x; edgesw convert ... -o . --force`"""
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    assert edgesw(*convert(tiny_llama, Path(), "--force")).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    read_manifest(tmp_path / "new")


@pytest.mark.parametrize("manifest", [None, '{"name": "a web app", "icons": []}', "[1]", "not JSON"])
def test_force_never_replaces_what_is_not_ours(manifest: str | None, tiny_llama: Path, tmp_path: Path) -> None:
    """`-o ~/Documents --force` must not cost the documents; a web app has a manifest.json too."""
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years")
    if manifest is not None:
        (folder / "manifest.json").write_text(manifest)
    with unchanged(tmp_path):
        assert_one_line(edgesw(*convert(tiny_llama, folder, "--force")), 2, "not an edgesw package", "-o")


def test_force_never_replaces_a_file_or_a_link(tiny_llama: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with unchanged(tmp_path):
        for name in ("notes", "link"):
            assert_one_line(edgesw(*convert(tiny_llama, tmp_path / name)), 2, f"{name}' exists")
            assert_one_line(edgesw(*convert(tiny_llama, tmp_path / name, "--force")), 2, "not an edgesw package")
    assert_one_line(edgesw(*convert(tiny_llama, tmp_path / "notes" / "x")), 2, "cannot be written to")


@pytest.mark.parametrize("target", ["coreml", "onnx"])
def test_a_write_that_fails_leaves_nothing(target: str, tiny_llama: Path, tmp_path: Path) -> None:
    """Half a package looks like a package until it is on the phone."""
    with unchanged(tmp_path), files_up_to(100_000):
        ran = edgesw(*convert(tiny_llama, tmp_path / "new" / "package", target=target))
    assert_one_line(ran, 1, "ulimit -f", "nothing was left behind")


def test_a_conversion_that_fails_half_way_keeps_the_old_package(tiny_llama: Path, package: Path) -> None:
    """--force means replace, not delete and then see."""
    with unchanged(package.parent), files_up_to(100_000):
        ran = edgesw(*convert(tiny_llama, package, "--force", "--bits", "8"))
    assert_one_line(ran, 1, "nothing was left behind")


def test_no_room_is_found_out_before_the_work(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forecast, so that nobody waits an hour for a disk to fill up."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100_000))
    with unchanged(tmp_path):
        ran = edgesw(*convert(tiny_llama, tmp_path / "new" / "package"))
        assert_one_line(
            ran, 1, f"not enough disk space: the package takes about 243.7 kB and '{tmp_path}' has 100.0 kB free", "-o"
        )
    assert edgesw(*convert(tiny_llama, tmp_path / "new" / "package", "--dry-run")).code == 0


SMALL_DISK = """
mount -t tmpfs -o size=100k small "$1" || exit 77
cd / && "$2" -c "$3"
status=$?
ls -A "$1" >&2
exit $status
"""


@pytest.mark.slow
def test_a_disk_that_fills_up_is_one_line_and_left_empty(tiny_llama: Path, tmp_path: Path) -> None:
    """A real small disk, where the system lets us mount one. The forecast, which would stop this, is replaced."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare on this system")
    disk = tmp_path / "disk"
    disk.mkdir()
    words = [str(word) for word in convert(tiny_llama, disk / "package")]
    program = f"""
import shutil
shutil.disk_usage = lambda path: shutil._ntuple_diskusage(1 << 40, 0, 1 << 40)
from edgesw.cli import main
main({words})
"""
    command = ["unshare", "-Urm", "sh", "-c", SMALL_DISK, "sh", str(disk), sys.executable, program]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"this system lets us mount nothing: {done.stderr.strip()}")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "Error: the disk is full; nothing was left behind. Free some room, or write to another disk.\n"
    ), "or the lines below it are what was left on the disk"


def test_weights_that_are_no_numbers_are_refused(tiny_llama: Path, package: Path, tmp_path: Path) -> None:
    """One NaN makes every answer of the package nonsense; found half way, and the old package is kept."""
    from safetensors.numpy import load_file, save_file

    broken = Path(shutil.copytree(tiny_llama, tmp_path / "broken"))
    tensors = load_file(broken / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = np.nan
    save_file(tensors, broken / "model.safetensors")
    with unchanged(tmp_path):
        ran = edgesw(*convert(broken, package, "--force"))
        assert_one_line(ran, 1, "tensor 'model.layers.1.mlp.up_proj.weight' holds NaN")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(tiny_llama: Path, tmp_path: Path) -> None:
    """Found out before the work, not after it."""
    parent = tmp_path / "parent"
    parent.mkdir(mode=0o555)
    assert_one_line(edgesw(*convert(tiny_llama, parent / "a" / "b")), 2, f"'{parent}' cannot be written to")
