"""Machines that run onnxruntime's ARM kernels: this one, or processors that QEMU emulates."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edgesw.errors import EdgeswError, UsageError
from edgesw.progress import Progress
from edgesw.system.machine import own_cache

CPUS = {
    "max": "everything that QEMU has: int8 products (dot products, i8mm), bfloat16, SVE, SME",
    "neoverse-n1": "int8 dot products, no i8mm: ARM servers and phones since about 2018",
    "cortex-a53": "no int8 dot products: Raspberry Pi 3, older phones",
}
GUEST = Path(__file__).with_name("arm_guest.py")
NUMPY = "2.4.6"  # for the emulated Python 3.11


@dataclass(frozen=True)
class Machine:
    """A machine that runs `arm_guest.py`, by a command that takes the script's path and arguments."""

    name: str
    command: tuple[str, ...]

    def arguments(self, *given: str) -> list[str]:
        """The command line that runs `arm_guest.py` with these arguments."""
        return [*self.command, str(GUEST), *given]

    @property
    def environment(self) -> dict[str, str]:
        """The environment. Idle threads that spin cost an emulated processor more than the work does."""
        return {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}


def this_machine() -> Machine:
    return Machine(platform.machine(), (sys.executable,))


def is_native() -> bool:
    return platform.machine() in ("arm64", "aarch64")


def can_be_emulated() -> bool:
    return (sys.platform, platform.machine()) == ("linux", "x86_64")


def arm64(cpu: str, progress: Progress) -> Machine:
    """An ARM machine: this one if it is one, whatever the `cpu`, else an emulated `cpu` of CPUS, which is set up in a
    minute the first time.

    UsageError for a `cpu` not in CPUS, EdgeswError where ARM processors cannot be emulated.
    """
    if cpu not in CPUS:
        raise UsageError(f"'{cpu}' is not an ARM processor that can be emulated: choose from {', '.join(CPUS)}.")
    if is_native():
        return this_machine()
    if not can_be_emulated():
        raise EdgeswError("ARM processors are emulated on x86-64 Linux only: run this there, or on an ARM machine.")
    folder = _set_up(progress)
    emulator = (folder / "qemu/usr/bin/qemu-aarch64", "-cpu", cpu, "-L", folder / "root")
    settings = ("-E", f"PYTHONPATH={folder / 'site'}", "-E", "PYTHONDONTWRITEBYTECODE=1")
    return Machine(
        f"arm64 {cpu}, emulated", tuple(map(str, (*emulator, *settings, folder / "root/usr/bin/python3.11")))
    )


def _set_up(progress: Progress) -> Path:
    """The folder with the emulator and an ARM Linux's Python; it appears at its final path only when complete."""
    onnxruntime = importlib.metadata.version("onnxruntime")
    cache = own_cache()
    folder = cache / f"arm64-onnxruntime-{onnxruntime}"
    if folder.exists():
        return folder
    progress("Setting up ARM emulation", "once on this machine, 200 MB", 0, 1)
    cache.mkdir(parents=True, exist_ok=True)
    making = cache / f".{folder.name}.{os.getpid()}"
    script = Path(__file__).with_name("arm_setup.sh")
    try:
        done = subprocess.run(
            ["bash", str(script), str(making), sys.executable, onnxruntime, NUMPY],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["arm_setup.sh failed"]
            raise EdgeswError(f"ARM emulation cannot be set up ({lines[-1].rstrip('.')}): fix that, or do without ARM.")
        with contextlib.suppress(OSError):  # another process was faster
            making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    progress("Setting up ARM emulation", "", 1, 1)
    return folder
