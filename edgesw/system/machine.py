"""This machine: its system and processor, and its free memory and disk space."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from edgesw.files.writable import nearest_folder


def machine() -> dict[str, str | int]:
    """What measurements depend on, to be printed together with them."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
    }


def available_memory() -> int | None:
    """Bytes that programs can take before the system swaps: free memory and caches. None if it cannot be found out."""
    try:
        if sys.platform == "darwin":
            ran = subprocess.run(["vm_stat"], capture_output=True, text=True, check=True)
            return vm_stat_bytes(ran.stdout)
        return meminfo_bytes(Path("/proc/meminfo").read_text())
    except (OSError, subprocess.SubprocessError):
        return None


def meminfo_bytes(text: str) -> int | None:
    """The available memory in the text of Linux' /proc/meminfo (proc_meminfo(5)), in bytes."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.MULTILINE)
    return int(match[1]) << 10 if match else None


def vm_stat_bytes(text: str) -> int | None:
    """The available memory in the output of macOS' vm_stat(1), in bytes: free, speculative and inactive pages."""
    size = re.search(r"page size of (\d+) bytes", text)
    counts = [
        re.search(rf"^Pages {kind}:\s+(\d+)\.$", text, re.MULTILINE) for kind in ("free", "speculative", "inactive")
    ]
    pages = [int(count[1]) for count in counts if count]
    return int(size[1]) * sum(pages) if size and len(pages) == len(counts) else None


def free_disk(folder: Path) -> int:
    """Free bytes on the disk of `folder`, which does not have to exist: the nearest folder above it counts."""
    return shutil.disk_usage(nearest_folder(folder)).free


def own_cache() -> Path:
    """The folder of edgesw's caches: in XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgesw"
