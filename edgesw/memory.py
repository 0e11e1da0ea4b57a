"""Gives freed memory back at once, so that the peak is what is in use."""

from __future__ import annotations

import ctypes
import sys

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
LARGE = 1 << 20


def return_large_blocks() -> None:
    """Have glibc map blocks of a megabyte or more one by one and unmap them when freed.

    By default it raises that limit to 32 MB as such blocks come and go, and keeps them in a heap that fragments:
    streaming SmolLM2 then ends with 1.6 GB resident where 0.3 GB are in use. Does nothing off Linux.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, LARGE)
