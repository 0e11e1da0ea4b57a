"""Tokenizers and chat templates that panic, never end, or fill the memory, as edits of sound files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Edit = Callable[[dict[str, Any]], None]


def part(key: str, value: Any) -> Edit:
    """The edit that gives a tokenizer this part."""
    return lambda values: values.update({key: value})


def _replaced(what: str, content: str, times: int, kind: str, pattern: str) -> dict[str, Any]:
    inner = {"type": "Replace", "pattern": {pattern: what}, "content": content}
    return {"type": "Sequence", f"{kind}s": [inner] * times}


def _model(**changes: Any) -> Edit:
    return lambda values: values["model"].update(changes)


TOKENIZERS: dict[str, Edit] = {
    "regex": part(
        "pre_tokenizer",
        {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False},
    ),
    "length 0": part("pre_tokenizer", {"type": "FixedLength", "length": 0}),
    "prefix": _model(continuing_subword_prefix="x" * 1000),
    "strip": part("decoder", {"type": "Strip", "content": "a", "start": 2**62, "stop": 2**62}),
    "charsmap": part("normalizer", {"type": "Precompiled", "precompiled_charsmap": [0, 0, 0, 0, 1]}),
    "charsmap text": part("normalizer", {"type": "Precompiled", "precompiled_charsmap": "AAAAAAA="}),
    "no tokens": _model(vocab={}, merges=[]),
    "unknown": part("model", {"type": "WordLevel", "unk_token": "zz", "vocab": {"a": 0}}),
    "normalizer": part("normalizer", _replaced("a", "a" * 100, 6, "normalizer", "String")),
    "decoder": part("decoder", _replaced(".", "a" * 1000, 4, "decoder", "Regex")),
    "ids": lambda values: values["model"].update(
        vocab={token: number + 100_000 for token, number in values["model"]["vocab"].items()}
    ),
}
"""What is done to tokenizer.json."""

TEMPLATES = {
    "endless": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "doubling": "{% set ns = namespace(x='a') %}"
    "{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "long": "{{ 'a' * 9000000000 }}",
    "padded": "{{ '%999999999d' | format(1) }}",
    "recursive": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "nested": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "half": "{{ '\\ud800' }}",
    "code": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
}


def spoil(folder: Path, *, tokenizer: Edit | None = None, template: str | None = None) -> None:
    """Edits the files of a checkpoint, or of a package, whose manifest then lists them as they are."""
    if tokenizer is not None:
        path = folder / "tokenizer.json"
        values = json.loads(path.read_bytes())
        tokenizer(values)
        path.write_text(json.dumps(values))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    manifest = folder / "manifest.json"
    if manifest.is_file():
        stated = json.loads(manifest.read_bytes())
        for name in ("tokenizer.json", "chat_template.jinja"):
            if name in stated["files"]:
                content = (folder / name).read_bytes()
                stated["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        manifest.write_text(json.dumps(stated))
