"""Findings about this machine: whether a library is installed and loads, and the consequence if it does not."""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass

from edgesw.system.local_settings import without_local_settings
from edgesw.system.log_filter import coremltools, only_errors


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for."""

    name: str
    there: bool
    what: str
    """A version or a place; if it is missing, why, and the consequence."""
    to_do: str | None = None
    """If conversions need it: what is wrong and what to do about it."""


def needed_library(name: str, purpose: str, *, load: bool = True) -> Finding:
    """Looks for a library that conversions need. With `load` False it is not imported, and only its version is looked
    up."""
    version, why = _load(name) if load else (installed_version(name), None)
    if version is None:
        return Finding(name, False, "not installed", f"{name} is not installed ({purpose}): pip install {name}.")
    if why is not None:
        again = f"pip install --force-reinstall {name}=={version}"
        return Finding(name, False, f"{version}, does not load: {why}", f"{name} does not load ({why}): {again}.")
    return Finding(name, True, version)


def optional_library(name: str, without: str) -> Finding:
    """Looks for a library that not everything needs. `without` is the consequence of its absence."""
    version, why = _load(name)
    if version is None:
        return Finding(name, False, f"not installed: {without}")
    return Finding(name, why is None, version if why is None else f"{version}, does not load: {why}")


def installed_version(name: str) -> str | None:
    """The version of an installed distribution; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def why_not(module: str) -> str | None:
    """Imports a module. Returns one line that says why it cannot be imported, or None if it can."""
    try:
        with only_errors("coremltools"), without_local_settings():
            if module.partition(".")[0] == "coremltools":
                coremltools()  # the part of it that we use
            importlib.import_module(module)
    except Exception as error:  # ImportError, and OSError or RuntimeError of compiled parts
        return " ".join(str(error).split()) or type(error).__name__
    return None


def _load(name: str) -> tuple[str | None, str | None]:
    """The version of a library (None if it is not installed), and why it does not load (None if it does)."""
    version = installed_version(name)
    return version, None if version is None else why_not(name.replace("-", "_"))
