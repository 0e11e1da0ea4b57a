"""A strict reader of OpenStep property lists, the format of project.pbxproj."""

from __future__ import annotations

import re
from typing import Any

_TOKEN = re.compile(
    r'\s+|/\*.*?\*/|//[^\n]*|(?P<mark>[{}()=;,])|(?P<word>[\w./$@]+)|"(?P<quoted>(?:[^"\\]|\\.)*)"', re.DOTALL
)


def parse(text: str) -> Any:
    """Dictionaries, lists and strings. ValueError for what is no such list, a key twice among it."""
    tokens = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"cannot read {text[at : at + 20]!r}")
        at = match.end()
        if match["mark"]:
            tokens.append((match["mark"], ""))
        elif match["word"] is not None or match["quoted"] is not None:
            tokens.append(("word", match["word"] if match["word"] is not None else _unquoted(match["quoted"])))
    tokens.reverse()
    value = _value(tokens)
    if tokens:
        raise ValueError(f"something follows: {tokens[-1]}")
    return value


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t"}.get(match[1], match[1]), text)


def _expect(tokens: list[tuple[str, str]], mark: str) -> None:
    found = tokens.pop()
    if found[0] != mark:
        raise ValueError(f"expected {mark}, found {found}")


def _value(tokens: list[tuple[str, str]]) -> Any:
    kind, word = tokens.pop()
    if kind == "word":
        return word
    if kind == "(":
        items = []
        while tokens[-1][0] != ")":
            items.append(_value(tokens))
            if tokens[-1][0] != ")":
                _expect(tokens, ",")
        tokens.pop()
        return items
    if kind != "{":
        raise ValueError(f"unexpected {kind}")
    found: dict[str, Any] = {}
    while tokens[-1][0] != "}":
        key_kind, key = tokens.pop()
        if key_kind != "word" or key in found:
            raise ValueError(f"no key, or one that is there already: {key or key_kind}")
        _expect(tokens, "=")
        found[key] = _value(tokens)
        _expect(tokens, ";")
    tokens.pop()
    return found
