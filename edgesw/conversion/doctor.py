"""What can run on the machine at hand, what is missing, and whether a conversion fits."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgesw import __version__
from edgesw.runtime.arm_machine import can_be_emulated, is_native
from edgesw.system.log_filter import only_errors
from edgesw.system.machine import available_memory, free_disk, machine

# What nothing is converted without, and what only some things want: each with what it is for.
NEEDED = {"torch": "forward passes", "numba": "compression", "coremltools": "Core ML packages", "onnx": "ONNX packages"}
OPTIONAL = {
    "onnxruntime": "ONNX packages are written, but not run",
    "onnxruntime-genai": "only what runs packages as apps do wants it",
    "transformers": "only the tests want it",
}
HUB_SECONDS = 3
MACOS = 15  # the first that runs our packages


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for."""

    name: str
    there: bool
    what: str
    """A version or place; where it is not there, why and what follows."""
    to_do: str | None = None
    """Where nothing is converted without it: what is wrong, and what to do."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found."""

    findings: tuple[Finding, ...]
    machine: dict[str, str | int]
    memory_bytes: int | None
    """Available to programs; None where it is not known."""
    disk_bytes: dict[str, int]
    """Free where packages are written (the current folder) and where models are fetched to (the hub's cache)."""

    @property
    def to_do(self) -> tuple[str, ...]:
        """What is missing, each with what to do. Empty: everything that conversions need is there."""
        return tuple(finding.to_do for finding in self.findings if finding.to_do)


def diagnose() -> Diagnosis:
    """Look at everything. Takes seconds: libraries that are installed may still not load, so they are loaded."""
    memory = available_memory()  # before libraries take theirs: a conversion's estimate has them in it
    findings = (
        Finding("edgesw", True, __version__),
        *(_needed(name, purpose) for name, purpose in NEEDED.items()),
        *(_optional(name, without) for name, without in OPTIONAL.items()),
        _core_ml(),
        _native_libraries(),
        _providers(),
        _arm(),
        _hub(),
    )
    return Diagnosis(findings, machine(), memory, {str(folder): free_disk(folder) for folder in _folders()})


def _needed(name: str, purpose: str) -> Finding:
    version, why = _load(name)
    if version is None:
        return Finding(name, False, "not installed", f"{name} is not installed ({purpose}): pip install {name}.")
    if why is not None:
        again = f"pip install --force-reinstall {name}=={version}"
        return Finding(name, False, f"{version}, does not load: {why}", f"{name} does not load ({why}): {again}.")
    return Finding(name, True, version)


def _optional(name: str, without: str) -> Finding:
    version, why = (_version(name), None) if name == "transformers" else _load(name)  # which we never import
    if version is None:
        return Finding(name, False, f"not installed: {without}")
    return Finding(name, why is None, version if why is None else f"{version}, does not load: {why}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _load(name: str) -> tuple[str | None, str | None]:
    """(version, None for a library that is not installed; why it does not load, None for one that does)."""
    version = _version(name)
    return version, None if version is None else _why_not(name.replace("-", "_"))


def _why_not(module: str) -> str | None:
    """In one line why a module cannot be imported, None where it can be."""
    try:
        with only_errors("coremltools"):
            importlib.import_module(module)
    except Exception as error:  # ImportError, and OSError or RuntimeError of what is compiled
        return " ".join(str(error).split()) or type(error).__name__
    return None


def _core_ml() -> Finding:
    interpreted = "packages are written, and run in our interpreter"
    if sys.platform != "darwin":
        return Finding("Core ML", False, f"no: {interpreted}")
    version = platform.mac_ver()[0]
    if int(version.split(".")[0]) < MACOS:
        return Finding("Core ML", False, f"no: packages want macOS {MACOS} or later, and this is {version}")
    return Finding("Core ML", True, f"macOS {version}")


def _native_libraries() -> Finding:
    """coremltools is pure Python where there is no wheel for the machine. We write weights without these libraries."""
    there = _why_not("coremltools.libmilstoragepython") is None
    what = "libmilstoragepython" if there else "no: conversions do without them, some tests do not"
    return Finding("coremltools, native", there, what)


def _providers() -> Finding:
    if _why_not("onnxruntime") is not None:
        return Finding("onnxruntime's providers", False, "none")
    import onnxruntime

    return Finding("onnxruntime's providers", True, ", ".join(onnxruntime.get_available_providers()))


def _arm() -> Finding:
    if is_native():
        return Finding("ARM", True, "native")
    if not can_be_emulated():
        return Finding("ARM", False, "no: emulated on x86-64 Linux only")
    missing = [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]
    if missing:
        return Finding("ARM", False, f"no: emulation is set up with {' and '.join(missing)}, not found here")
    return Finding("ARM", True, "emulated (edgesw validate --runtime arm64)")


def _hub() -> Finding:
    """Whether the hub answers, by one request for nothing but a header."""
    try:
        from huggingface_hub import constants, get_session
    except ImportError as error:
        to_do = f"huggingface_hub does not load ({error}): pip install --force-reinstall huggingface_hub."
        return Finding("hub", False, "huggingface_hub does not load", to_do)
    if constants.HF_HUB_OFFLINE:
        return Finding("hub", False, "not asked: HF_HUB_OFFLINE is set; models come from folders, files and the cache")
    try:
        status = get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS).status_code
    except Exception as error:  # which ones depends on the HTTP client inside huggingface_hub
        why = " ".join(str(error).split()) or type(error).__name__
        return Finding("hub", False, f"{constants.ENDPOINT} does not answer ({why}): give folders or files")
    if status >= 500:
        return Finding("hub", False, f"{constants.ENDPOINT} answers with an error ({status}): try again later")
    return Finding("hub", True, constants.ENDPOINT)


def _folders() -> Iterator[Path]:
    yield Path.cwd()
    try:
        from huggingface_hub import constants
    except ImportError:
        return
    yield Path(constants.HF_HUB_CACHE)
