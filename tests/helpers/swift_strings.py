"""The texts of the app's Swift sources that people see: what SwiftUI and Foundation look up in the String Catalog."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_LOCALISED = (
    r"Text|Button|Label|Toggle|Menu|Section|LabeledContent|TextField|ContentUnavailableView|Amount|Limit|row|"
    r"Picker|Link|ProgressView|navigationTitle|accessibilityLabel|accessibilityHint|accessibilityValue|alert|"
    r"confirmationDialog"
)
_CALL = re.compile(rf"\b(?:(?:{_LOCALISED})\(\s*|String\(localized:\s*)(?=\")")


def localised(source: Path) -> Iterator[str]:
    """The catalog's key for each text: `%@` for what is put in. Values in our texts are strings, formatted before."""
    code = re.sub(r"(?m)^\s*//.*$", "", source.read_text(encoding="utf-8"))
    for call in _CALL.finditer(code):
        yield _key(code, call.end() + 1)


def _key(code: str, at: int) -> str:
    """The literal whose first character is at `at`, up to its closing quote."""
    key = ""
    while code[at] != '"':
        if code[at] == "\\" and code[at + 1] == "(":
            at, depth = at + 2, 1
            while depth:
                depth += {"(": 1, ")": -1}.get(code[at], 0)
                at += 1
            key += "%@"
        elif code[at] == "\\":
            key += {"n": "\n", "t": "\t"}.get(code[at + 1], code[at + 1])
            at += 2
        else:
            key += "%%" if code[at] == "%" else code[at]
            at += 1
    return key
