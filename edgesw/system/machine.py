"""The machine at hand: what it is, and what of its memory and disk is free."""

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
    """What figures depend on, for those who read them elsewhere."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
    }


def available_memory() -> int | None:
    """Bytes that programs can take before the system swaps: free, or in caches that give way. None: not known here."""
    try:
        if sys.platform == "darwin":
            told = subprocess.run(["vm_stat"], capture_output=True, text=True, check=True)
            return vm_stat_bytes(told.stdout)
        return meminfo_bytes(Path("/proc/meminfo").read_text())
    except (OSError, subprocess.SubprocessError):
        return None


def meminfo_bytes(text: str) -> int | None:
    """What Linux' /proc/meminfo says is available (proc_meminfo(5)), in bytes."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.MULTILINE)
    return int(match[1]) << 10 if match else None


def vm_stat_bytes(text: str) -> int | None:
    """The pages that macOS' vm_stat(1) counts as free, speculative (read ahead) or inactive, in bytes."""
    size = re.search(r"page size of (\d+) bytes", text)
    counts = [
        re.search(rf"^Pages {kind}:\s+(\d+)\.$", text, re.MULTILINE) for kind in ("free", "speculative", "inactive")
    ]
    pages = [int(count[1]) for count in counts if count]
    return int(size[1]) * sum(pages) if size and len(pages) == len(counts) else None


def free_disk(folder: Path) -> int:
    """Bytes free where `folder` is, or would be: the nearest folder above it counts."""
    return shutil.disk_usage(nearest_folder(folder)).free


def own_cache() -> Path:
    """Where edgesw keeps what it can make again: below XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgesw"
