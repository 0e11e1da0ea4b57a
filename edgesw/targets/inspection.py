"""Inspection: the contents of a package, or of any model that a target can read, from headers: no weight is read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgesw.errors import PackageError, UnreadableError, UnsupportedError
from edgesw.inspect.contents import ModelContents
from edgesw.package.manifest import MANIFEST, Manifest, read_manifest
from edgesw.package.publish import check_files
from edgesw.targets.registry import TARGETS


@dataclass(frozen=True)
class Inspection:
    """What a package or a model file contains."""

    path: Path
    models: tuple[ModelContents, ...]
    manifest: Manifest | None
    """None for a model that is not in a package of edgesw."""

    def to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {"path": str(self.path), "models": [model.to_dict() for model in self.models]}
        if self.manifest is not None:
            values["source"] = asdict(self.manifest.source)
            values["super_weights"] = [asdict(weight) for weight in self.manifest.super_weights]
            values["held_out_columns"] = self.manifest.held_out_columns
        return values


def inspect(path: Path) -> Inspection:
    """Inspects a package, or a model of one of the targets' formats, written by any tool. UnreadableError for what is
    neither, or is damaged."""
    try:
        for target in TARGETS.values():
            if target.reads(path):
                return Inspection(path, target.inspect(path), None)
        if (path / MANIFEST).is_file():
            return _inspect_package(path)
    except (PackageError, UnsupportedError) as error:
        raise UnreadableError(str(error)) from error
    except RecursionError as error:
        raise UnreadableError(f"{path} is damaged: it is nested without end. Get or write it again.") from error
    raise UnreadableError(_not_a_model(path))


def _inspect_package(package: Path) -> Inspection:
    manifest = read_manifest(package)
    check_files(package, manifest)
    models = (TARGETS[name].inspect(package / model.path) for name, model in manifest.models.items() if name in TARGETS)
    return Inspection(package, tuple(found for each in models for found in each), manifest)


def _not_a_model(path: Path) -> str:
    suffixes = tuple(target.suffix for target in TARGETS.values())
    what = f"give an edgesw package, or a model that ends in {' or '.join(suffixes)}."
    if not path.exists():
        return f"'{path}' does not exist: {what}"
    if path.is_dir():
        inside = sorted(each.name for each in path.iterdir() if each.suffix in suffixes)
        if inside:
            return f"'{path}' is a folder without {MANIFEST}: give one of what is in it, such as {path / inside[0]}."
    return f"'{path}' is not a model that edgesw reads: {what}"
