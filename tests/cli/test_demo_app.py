"""`edgesw demo-app`, which copies a package to the folder that Xcode builds into the app."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from file_limit import files_up_to
from tiny import assert_one_line, edgesw, unchanged

from edgesw.package.manifest import read_manifest
from edgesw.package.publish import check_files


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An app folder, as far as the command checks it."""
    (tmp_path / "app" / "EdgeSWDemo.xcodeproj").mkdir(parents=True)
    return tmp_path / "app"


@pytest.fixture
def copy(tiny_package: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_package, tmp_path / "tiny-4bit"))


def placed(app: Path) -> list[str]:
    """Returns the packages in the app, including hidden folders of an incomplete copy."""
    folder = app / "Packages"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_app_gets_a_complete_package_with_only_its_core_ml_model(copy: Path, app: Path) -> None:
    """The phone checks every file of the manifest: a missing one would be a damaged package there. An ONNX model would
    only make the app larger."""
    with unchanged(copy):
        ran = edgesw("demo-app", copy, "--app", app)
    assert ran.code == 0, ran.err
    inside = app / "Packages" / "tiny-4bit"
    manifest = read_manifest(inside)
    check_files(inside, manifest, contents=True, extra=True)
    assert {name: model.path for name, model in manifest.models.items()} == {"coreml": "model.mlpackage"}
    before, after = read_manifest(copy), set(manifest.files)
    assert set(before.files) - after == {"model.onnx", "model.onnx.data", "genai_config.json"}
    assert "tokenizer.json" in after and any(name.startswith("model.mlpackage/") for name in after)
    assert placed(app) == ["tiny-4bit"]
    lines = ran.out.splitlines()
    assert lines[0].startswith(f"{inside}: {len(after)} files, ")
    assert lines[1].startswith(f"1. open {app / 'EdgeSWDemo.xcodeproj'}") and "team" in lines[2] and len(lines) == 3


def test_json_names_the_copy_and_the_next_steps(copy: Path, app: Path) -> None:
    printed = json.loads(edgesw("demo-app", copy, "--app", app, "--json").out)
    inside = Path(printed["package"])
    assert inside == app / "Packages" / "tiny-4bit"
    sizes = [path.stat().st_size for path in inside.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert (printed["files"], printed["bytes"]) == (len(sizes), sum(sizes)) and len(printed["next"]) == 2


def test_chunks_are_copied(copy: Path, app: Path) -> None:
    """Large models consist of several .mlpackages in a folder."""
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "model-chunks").mkdir()
    (copy / "model.mlpackage").rename(copy / "model-chunks" / "1-of-1.mlpackage")
    old, new = "model.mlpackage", "model-chunks/1-of-1.mlpackage"
    model = manifest["models"]["coreml"]
    model |= {"path": "model-chunks", "files": [name.replace(old, new) for name in model["files"]]}
    manifest["files"] = {name.replace(old, new): each for name, each in manifest["files"].items()}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert edgesw("demo-app", copy, "--app", app).code == 0
    inside = app / "Packages" / "tiny-4bit"
    check_files(inside, read_manifest(inside), contents=True, extra=True)
    assert (inside / "model-chunks" / "1-of-1.mlpackage" / "Manifest.json").is_file()


def test_an_existing_package_is_replaced_only_by_force(copy: Path, app: Path) -> None:
    """Another conversion of the same name may have taken hours."""
    assert edgesw("demo-app", copy, "--app", app).code == 0
    inside = app / "Packages" / "tiny-4bit"
    (inside / "tokenizer.json").unlink()
    with unchanged(app):
        assert_one_line(edgesw("demo-app", copy, "--app", app), 2, f"'{inside}' exists", "--force")
    assert edgesw("demo-app", copy, "--app", app, "--force").code == 0
    assert (inside / "tokenizer.json").is_file() and placed(app) == ["tiny-4bit"]


def test_force_never_replaces_other_folders(copy: Path, app: Path) -> None:
    """They may be the user's own files."""
    (app / "Packages" / "tiny-4bit").mkdir(parents=True)
    (app / "Packages" / "tiny-4bit" / "notes.txt").write_text("mine")
    with unchanged(app):
        assert_one_line(edgesw("demo-app", copy, "--app", app, "--force"), 2, "not an edgesw package", "another name")


def test_a_damaged_package_does_not_get_into_the_app(copy: Path, app: Path) -> None:
    """The phone would detect the damage only after a build and an upload of gigabytes."""
    content = bytearray((copy / "tokenizer.json").read_bytes())
    content[100] ^= 1
    (copy / "tokenizer.json").write_bytes(content)
    assert_one_line(edgesw("demo-app", copy, "--app", app), 1, "tokenizer.json is damaged")
    assert placed(app) == []


def test_a_package_without_a_core_ml_model_is_refused(tiny_package: Path, tmp_path: Path, app: Path) -> None:
    package = Path(shutil.copytree(tiny_package, tmp_path / "onnx"))
    manifest = json.loads((package / "manifest.json").read_text())
    del manifest["models"]["coreml"]
    (package / "manifest.json").write_text(json.dumps(manifest))
    assert_one_line(edgesw("demo-app", package, "--app", app), 2, "no Core ML model", "--target coreml")


def test_a_folder_that_is_not_a_package_is_a_usage_error(tmp_path: Path, app: Path) -> None:
    assert_one_line(edgesw("demo-app", tmp_path, "--app", app), 2, "has no manifest.json")


def test_without_the_app_one_line_says_how_to_get_it(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed wheel does not contain apps/."""
    monkeypatch.chdir(tmp_path)
    assert_one_line(edgesw("demo-app", copy), 2, "'apps/ios-demo' has no EdgeSWDemo.xcodeproj", "clone", "--app")


def test_the_app_below_the_current_folder_is_the_default(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apps" / "ios-demo" / "EdgeSWDemo.xcodeproj").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert edgesw("demo-app", copy).code == 0
    assert placed(tmp_path / "apps" / "ios-demo") == ["tiny-4bit"]


def test_a_link_in_the_package_becomes_a_file(copy: Path, app: Path) -> None:
    """The Hub's client stores files as links into its cache: in the app they would be broken."""
    real = copy / "tokenizer.real.json"
    (copy / "tokenizer.json").rename(real)
    (copy / "tokenizer.json").symlink_to(real.name)
    assert edgesw("demo-app", copy, "--app", app).code == 0
    inside = app / "Packages" / "tiny-4bit" / "tokenizer.json"
    assert not inside.is_symlink() and inside.read_bytes() == real.read_bytes()


def test_on_another_disk_the_files_are_copied(copy: Path, app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system refuses hard links between disks."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert edgesw("demo-app", copy, "--app", app).code == 0
    inside = app / "Packages" / "tiny-4bit"
    manifest = read_manifest(inside)
    check_files(inside, manifest, contents=True, extra=True)
    assert all((inside / name).stat().st_nlink == 1 for name in manifest.files)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    share: float, copy: Path, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit on file sizes, as in tests/test_faults.py, reached at the first file or at the weights."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "another disk")

    monkeypatch.setattr("os.link", refuse)
    largest = max(path.stat().st_size for path in (copy / "model.mlpackage").rglob("*") if path.is_file())
    with unchanged(app), files_up_to(int(share * largest)):
        ran = edgesw("demo-app", copy, "--app", app)
    assert_one_line(ran, 1, "Error: a file grew past")
