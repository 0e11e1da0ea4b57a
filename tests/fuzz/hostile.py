"""What hostile files are made of: values that readers do not expect, and edits of files that were sound."""

from __future__ import annotations

import copy
import json
import re
import struct
from typing import Any

from hypothesis import strategies as st

NUMBERS = (
    0, 1, 2, 3, 5, 63, 64, 255, 256, 1000, 1001, 2**15, 2**16, 2**20, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40,
    2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1,
)  # fmt: skip
NAMES = (
    "", ".", "..", "../secret", "../../secret", "sub/../../secret", "/etc/passwd", "C:\\secret", "..\\secret", "link",
    "link/secret", "linked", "a\0b", "a\nb", "\x1b[31mred", "\ud800", "é" * 5000, "x" * 300, "{0.__class__}", "%s%n",
)  # fmt: skip
NUMERALS = (-1, -(2**63), 10**30, 10**400, 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), -float("inf"))
# Nested so deep, or with so many digits, that they can only be told in the text: see `text_of`.
DEEP = tuple(f"@{kind}{depth}@" for kind in ("list", "table") for depth in (90, 110, 300, 490, 700, 980, 5000))
DIGITS = ("@digits5000@", "@digits300@")

plain = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS + NUMERALS),
    st.sampled_from(NAMES + DEEP + DIGITS),
    st.integers(-5, 300),
    st.floats(),
    st.text(max_size=6),
)
values: st.SearchStrategy[Any] = st.one_of(
    plain,
    st.recursive(
        plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner), max_leaves=6
    ),
)
"""Anything JSON or YAML can hold."""

Edit = tuple[int, str, Any]
edits: st.SearchStrategy[list[Edit]] = st.lists(
    st.tuples(
        st.integers(0, 2**16), st.sampled_from(["set", "set", "set", "remove", "rename", "copy", "append"]), values
    ),
    max_size=4,
)
"""Edits of a document: which of its places, what to do there, and a value for it."""

ByteEdit = tuple[str, float, int]
byte_edits: st.SearchStrategy[list[ByteEdit]] = st.one_of(
    st.just([]),
    st.lists(
        st.tuples(
            st.sampled_from(["flip", "byte", "cut", "insert", "erase", "u32", "u64", "repeat"]),
            st.floats(0, 1),
            st.one_of(st.sampled_from(NUMBERS), st.integers(0, 2**16)),
        ),
        max_size=4,
    ),
)
"""Edits of bytes: what to do, where (0 to 1, of the length), and a number for it."""


def edited(document: Any, made: list[Edit]) -> Any:
    """A document with these edits. The original stays as it is."""
    whole = [copy.deepcopy(document)]
    for where, action, value in made:
        places = _places(whole)
        holder, key = places[where % len(places)]
        if action == "remove" and holder is not whole:
            del holder[key]
        elif action == "rename" and isinstance(holder, dict):
            holder[str(value)] = holder.pop(key)
        elif action == "copy":  # the value of another place
            other, at = places[(where // 7 + 1) % len(places)]
            holder[key] = copy.deepcopy(other[at])
        elif action == "append" and isinstance(holder[key], list):
            holder[key].append(value)
        elif action == "append" and isinstance(holder[key], dict):
            holder[key][str(value)[:40]] = value
        else:
            holder[key] = value
    return whole[0]


def _places(holder: Any) -> list[tuple[Any, Any]]:
    keys = range(len(holder)) if isinstance(holder, list) else list(holder)
    found = []
    for key in keys:
        found.append((holder, key))
        if isinstance(holder[key], (list, dict)):
            found += _places(holder[key])
    return found


def text_of(document: Any, twice: str | None = None) -> bytes:
    """The document as JSON; where it is a table, with one of its keys there twice."""
    text = json.dumps(document)
    if twice is not None and text.startswith("{") and text != "{}":
        text = '{"' + twice + '": ' + json.dumps(document.get(twice, 1)) + ", " + text[1:]
    return re.sub(r'"@(list|table|digits)(\d+)@"', _spelled, text).encode("utf-8", "surrogatepass")


def _spelled(match: re.Match[str]) -> str:
    count = int(match[2])
    spelled = {"list": "[" * count + "]" * count, "table": '{"a":' * count + "1" + "}" * count, "digits": "7" * count}
    return spelled[match[1]]


def damaged(content: bytes, made: list[ByteEdit]) -> bytes:
    """The bytes with these edits."""
    data = bytearray(content)
    for action, where, number in made:
        at = min(int(where * len(data)), max(0, len(data) - 1))
        if action == "cut":
            del data[at:]
        elif action == "insert":
            data[at:at] = number.to_bytes(8, "little")
        elif action == "erase":
            del data[at : at + number % 64]
        elif action == "repeat":
            data[at:at] = data[at : at + number % 256]
        elif action == "u32":
            data[at : at + 4] = struct.pack("<I", number % 2**32)
        elif action == "u64":
            data[at : at + 8] = struct.pack("<Q", number)
        elif data:
            data[at] = data[at] ^ (1 << number % 8) if action == "flip" else number % 256
    return bytes(data)
