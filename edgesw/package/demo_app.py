"""Copies a package into the iOS demo's resources, where Xcode builds it into the app."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from edgesw.errors import UsageError
from edgesw.package.manifest import MANIFEST, Manifest, read_manifest
from edgesw.package.publish import check_files, publish
from edgesw.progress import Progress

PROJECT, PACKAGES = "EdgeSWDemo.xcodeproj", "Packages"
APP = Path("apps/ios-demo")


@dataclass(frozen=True)
class Copied:
    """Where the app's copy is, and the project to open."""

    folder: Path
    project: Path
    files: int
    size: int  # bytes, without the manifest


def copy_into_app(package: Path, app: Path, *, force: bool, progress: Progress) -> Copied:
    """Copies the Core ML part of a package into the app's folder `app`, checked first, complete or not at all.

    The copy is a package of its own, whose manifest lists only the Core ML model. Files are hard links where the disk
    allows it, so that gigabytes are not stored twice. UsageError where `app` is not the demo, where the package has no
    Core ML model, or where the app has a package of this name and `force` is not given; PackageError for a package
    whose files are missing or altered.
    """
    project = app / PROJECT
    if not project.is_dir():
        raise UsageError(
            f"'{app}' has no {PROJECT}: clone the project and run this in its folder, or name its {APP} with --app."
        )
    manifest = read_manifest(package)
    if "coreml" not in manifest.models:
        raise UsageError(f"'{package}' has no Core ML model: convert again with --target coreml.")
    check_files(package, manifest, contents=True, progress=progress)
    own = _coreml_alone(manifest)
    final = app / PACKAGES / package.resolve().name
    with publish(final, force, instead="give the package's folder another name") as folder:
        for number, name in enumerate(own.files):
            progress("Copying", name, number, len(own.files))
            _place((package / name).resolve(), folder / name)
        (folder / MANIFEST).write_text(own.to_json(), encoding="utf-8")
    return Copied(final, project, len(own.files), sum(entry.bytes for entry in own.files.values()))


def _coreml_alone(manifest: Manifest) -> Manifest:
    model = manifest.models["coreml"]
    others = {name for target, each in manifest.models.items() if target != "coreml" for name in each.files}
    files = {name: entry for name, entry in manifest.files.items() if name in model.files or name not in others}
    return replace(manifest, models={"coreml": model}, files=files)


def _place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that has no links
        shutil.copyfile(source, target)
