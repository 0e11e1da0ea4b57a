"""What is inside a package of ours, an .mlpackage or an ONNX model, matrix by matrix, without reading a weight."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesw.errors import PackageError, UnreadableError, UnsupportedError
from edgesw.inspect.contents import Found
from edgesw.package.package import MANIFEST, Manifest, check_files, read_manifest


@dataclass(frozen=True)
class Inspection:
    path: Path
    models: tuple[Found, ...]
    manifest: Manifest | None
    """Of a package of ours."""

    def to_dict(self) -> dict[str, Any]:
        told: dict[str, Any] = {"path": str(self.path), "models": [model.to_dict() for model in self.models]}
        if self.manifest is not None:
            told["source"] = self.manifest.source
            told["held_out"] = list(self.manifest.held_out)
            told["held_out_columns"] = self.manifest.held_out_columns
        return told


def inspect(path: Path) -> Inspection:
    """Raises UnreadableError for what is none of these, or damaged."""
    try:
        if path.suffix == ".mlpackage" and path.is_dir():
            return Inspection(path, (_inspect_model(path),), None)
        if path.is_file():
            return Inspection(path, (_inspect_model(path),), None)
        if (path / MANIFEST).is_file():
            return _inspect_package(path)
    except (PackageError, UnsupportedError) as error:
        raise UnreadableError(str(error)) from error
    except RecursionError as error:
        raise UnreadableError(f"{path} is damaged: it is nested without end. Get or write it again.") from error
    raise UnreadableError(_not_a_model(path))


def _inspect_package(package: Path) -> Inspection:
    from edgesw.runtime.coreml_interface import packages

    manifest = read_manifest(package)
    check_files(package, manifest)
    files = [package / file for file in manifest.models.values()]
    parts = [part for file in files for part in (packages(file) if file.is_dir() else [file])]
    return Inspection(package, tuple(map(_inspect_model, parts)), manifest)


def _inspect_model(path: Path) -> Found:
    # Each brings a library that takes long to load.
    if path.suffix == ".mlpackage":
        from edgesw.inspect.coreml import inspect_coreml

        return inspect_coreml(path)
    if path.suffix == ".onnx":
        from edgesw.inspect.onnx import inspect_onnx

        return inspect_onnx(path)
    raise UnreadableError(_not_a_model(path))


def _not_a_model(path: Path) -> str:
    what = "give an edgesw package, an .mlpackage or an .onnx file."
    if not path.exists():
        return f"'{path}' does not exist: {what}"
    if path.is_dir():
        inside = sorted(each.name for each in path.iterdir() if each.suffix in (".mlpackage", ".onnx"))
        if inside:
            return f"'{path}' is a folder without {MANIFEST}: give one of what is in it, such as {path / inside[0]}."
    return f"'{path}' is no model that is read here: {what}"
