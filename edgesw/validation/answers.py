"""Whether an answer is right: its text compared with the accepted ones."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgesw.validation.task_set import Compare, Task

LONGEST = 4000
"""How many characters of an answer are looked at; 200 where they are matched with a pattern."""
LONGEST_MATCHED = 200
_NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?")
_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")


def cut(text: str, end: str) -> str:
    """An answer without what follows `end`, once it has begun, and without space around it."""
    begun = text.lstrip()
    return begun.partition(end)[0].strip() if end else begun.strip()


def is_right(answer: str, task: Task, compare: Compare) -> bool:
    """Whether an answer, as `cut` leaves it, is one that the task accepts."""
    answer = answer[:LONGEST]
    if compare == "pattern":
        return len(answer) <= LONGEST_MATCHED and re.fullmatch(task.pattern, answer) is not None
    read = _READ[compare]
    found = read(answer)
    return found is not None and any(_same(found, read(each)) for each in task.answers)


def _same(found: Any, wanted: Any) -> bool:
    """Equality as JSON has it: 1 is not true, and 1.0 is 1."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(_same(found[key], wanted[key]) for key in found)
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_same, found, wanted))
    return bool(found == wanted)


def _text(answer: str) -> str | None:
    return answer.strip().rstrip(".").rstrip() or None


def _first_number(answer: str) -> float | None:
    return _number(_NUMBER.search(answer))


def _last_number(answer: str) -> float | None:
    found = list(_NUMBER.finditer(answer))
    return _number(found[-1]) if found else None


def _number(match: re.Match[str] | None) -> float | None:
    value = None if match is None else float(match[0].replace(",", "").replace("−", "-"))
    return value if value is not None and math.isfinite(value) else None


def _first_word(answer: str) -> str | None:
    match = _WORD.search(answer)
    return None if match is None else match[0].casefold()


def _json(answer: str) -> Any:
    """The JSON value that an answer begins with, whatever follows; None where there is none."""
    try:
        return json.JSONDecoder().raw_decode(answer.strip())[0]
    except (ValueError, RecursionError):
        return None


_READ = {
    "text": _text, "number": _first_number, "last number": _last_number, "word": _first_word, "json": _json,
}  # fmt: skip
