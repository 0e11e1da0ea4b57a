"""SentencePiece's tables of characters to replace."""

from __future__ import annotations

import struct
from typing import Any


def charsmap(replacements: dict[str, str]) -> bytes:
    """SentencePiece's table: a double-array trie over UTF-8 (units as in Darts-clone), then the texts it points to."""
    texts, trie = b"", {}
    for source, target in replacements.items():
        node: dict[int, Any] = trie
        for byte in source.encode():
            node = node.setdefault(byte, {})
        node[0] = len(texts)
        texts += target.encode() + b"\0"
    units: dict[int, int] = {0: 0}

    def place(index: int, node: dict[int, Any]) -> None:
        offset = next(o for o in range(1, 2**16) if all(index ^ o ^ label not in units for label in node))
        units[index] |= offset << 10 | (0x100 if 0 in node else 0)
        for label, child in node.items():
            units[index ^ offset ^ label] = label if label else child | 1 << 31
        for label, child in node.items():
            if label:
                place(index ^ offset ^ label, child)

    place(0, trie)
    array = [units.get(index, 0) for index in range(-(-(max(units) + 1) // 256) * 256)]
    return struct.pack(f"<I{len(array)}I", 4 * len(array), *array) + texts
