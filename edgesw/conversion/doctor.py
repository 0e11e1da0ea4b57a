"""Doctor: what this machine can do, what is missing, and what to do about it."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgesw import __version__
from edgesw.system.findings import Finding, needed_library
from edgesw.system.machine import available_memory, free_disk, machine
from edgesw.targets.registry import TARGETS

# Libraries without which nothing is converted, besides those of the targets, and what each is for.
NEEDED = {"torch": "forward passes", "numba": "compression", "transformers": "reading configs and tokenizers"}
# Looked up and not loaded, which would take seconds.
UNLOADED = ("transformers",)
HUB_SECONDS = 3


@dataclass(frozen=True)
class Diagnosis:
    """What was found."""

    findings: tuple[Finding, ...]
    machine: dict[str, str | int]
    memory_bytes: int | None
    """Available to programs; None where that is not known."""
    disk_bytes: dict[str, int]
    """Free where packages are written (the current folder) and where models are fetched to (the hub's cache)."""

    @property
    def to_do(self) -> tuple[str, ...]:
        """What is missing, each with what to do. Empty: everything that conversions need is there."""
        return tuple(finding.to_do for finding in self.findings if finding.to_do)


def diagnose() -> Diagnosis:
    """Looks at everything. Takes seconds: libraries that are installed may still not load, so they are loaded."""
    hub = _ask_hub()  # meanwhile the libraries load
    memory = available_memory()  # before libraries take theirs: a conversion's estimate includes them
    needed = {**NEEDED, **{name: why for target in TARGETS.values() for name, why in target.libraries.items()}}
    collects = gc.isenabled()
    gc.disable()  # it would look through all that the libraries load, again and again
    try:
        findings = (
            Finding("edgesw", True, __version__),
            *(needed_library(name, purpose, load=name not in UNLOADED) for name, purpose in needed.items()),
            *(finding for target in TARGETS.values() for finding in target.findings()),
            hub(),
        )
    finally:
        if collects:
            gc.enable()
    return Diagnosis(findings, machine(), memory, {str(folder): free_disk(folder) for folder in _folders()})


def _ask_hub() -> Callable[[], Finding]:
    """Asks the hub in a thread. The result waits no longer than HUB_SECONDS after the question for the answer: to look
    up an address may take minutes, whatever the request's own limit is."""
    answers: list[Finding] = []
    thread = threading.Thread(target=lambda: answers.append(_hub()), daemon=True)
    thread.start()
    end = time.monotonic() + HUB_SECONDS

    def answer() -> Finding:
        thread.join(max(0.0, end - time.monotonic()))
        late = f"does not answer within {HUB_SECONDS} s: give folders or files"
        return answers[0] if answers else Finding("hub", False, late)

    return answer


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
