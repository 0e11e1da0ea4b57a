"""SentencePiece's tables of characters to replace."""

from __future__ import annotations

import struct
from typing import Any

Node = dict[int, Any]


def charsmap(replacements: dict[str, str]) -> bytes:
    """The table's bytes: a double-array trie over UTF-8 (units as in Darts-clone), then the texts that it points to.
    Every node has a block of 256 units of its own, which is not small but plain."""
    texts, root = bytearray(), Node()
    for source, target in replacements.items():
        node = root
        for byte in source.encode():
            node = node.setdefault(byte, {})
        node[0] = len(texts)
        texts += target.encode() + b"\0"
    units, waiting, block = {0: 0}, [(0, root)], 0
    while waiting:
        index, node = waiting.pop()
        block += 256
        units[index] |= (index ^ block) << 10 | (0x100 if 0 in node else 0)
        for label, child in node.items():
            units[block ^ label] = label if label else child | 1 << 31
            if label:
                waiting.append((block ^ label, child))
    array = [units.get(index, 0) for index in range(block + 256)]
    return struct.pack(f"<I{len(array)}I", 4 * len(array), *array) + bytes(texts)
