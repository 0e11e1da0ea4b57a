"""The content hashes of checkpoints on this machine, remembered for as long as their files stay as they are."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from edgesw.files.atomic_write import staged
from edgesw.files.checksums import content_hash, file_times
from edgesw.files.json_file import read_json
from edgesw.files.type_check import structure
from edgesw.system.machine import own_cache

KEPT = 64
"""How many checkpoints are remembered: the latest ones."""
MOST_BYTES = 4 << 20
"""A larger file was not written by edgesw."""
TICK_NS = 50_000_000
"""Longer than the clocks of file systems tick: a file that was changed later than this may change again unseen."""


@dataclass(frozen=True)
class _Known:
    """A checkpoint that was hashed."""

    path: str
    content: str
    files: tuple[tuple[str, int, int], ...]
    """As `file_times` gives them."""


def content_of(path: Path) -> str:
    """`content_hash` of a checkpoint. It is read again only if a file's size or time has changed."""
    path = path.resolve()
    times, known = file_times(path), _read()
    for each in known:
        if each.path == str(path) and each.files == times:
            return each.content
    content = content_hash(path)
    newest = max((changed for _, _, changed in times), default=0)
    if file_times(path) == times and time.time_ns() - newest > TICK_NS:
        others = [each for each in known if each.path != str(path)]
        _write([*others, _Known(str(path), content, times)][-KEPT:])
    return content


def find_content(content: str) -> Path | None:
    """A checkpoint with this content that was hashed here and has not changed since; None where there is none."""
    for each in reversed(_read()):
        if each.content == content:
            with contextlib.suppress(OSError):  # it has moved
                if file_times(Path(each.path)) == each.files:
                    return Path(each.path)
    return None


def index_path() -> Path:
    return own_cache() / "contents.json"


def _read() -> list[_Known]:
    """What is remembered; nothing where the file is missing or damaged."""
    path = index_path()
    try:
        if path.stat().st_size > MOST_BYTES:
            return []
        return [structure(_Known, entry) for entry in read_json(path)]
    except (OSError, ValueError, TypeError):
        return []


def _write(known: list[_Known]) -> None:
    path = index_path()
    with contextlib.suppress(OSError):  # an index that cannot be written costs time, not results
        path.parent.mkdir(parents=True, exist_ok=True)
        with staged(path) as (partial,):
            partial.write_text(json.dumps([asdict(each) for each in known]), encoding="utf-8")
