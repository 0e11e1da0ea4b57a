"""Checks SentencePiece's table of characters to replace, every number of which the tokenizers library trusts."""

from __future__ import annotations

import numpy as np


def check_charsmap(table: bytes) -> None:
    """Raises ValueError for a `precompiled_charsmap` in which a look-up could leave the table.

    The table holds the trie's size in bytes, its units (uint32), and the replacements, each ended by a zero byte. A
    unit is one of a double-array trie (Yata's darts-clone): a label in the low 8 bits, bit 8 for a leaf below it, and
    above them an offset, which is shifted by 8 bits where bit 9 is set; with bit 31 set, the unit is a value, the
    position of a replacement. The library allocates the stated size, however large, and panics at positions outside
    the table; both end the process.
    """
    size = int.from_bytes(table[:4], "little")
    if size % 4 or not 0 < size <= len(table) - 4:
        raise ValueError("the table of characters to replace does not have the size it states")
    units = np.frombuffer(table, "<u4", size // 4, 4).astype(np.int64)
    texts = np.frombuffer(table, np.uint8, offset=4 + size)
    places = np.arange(len(units))
    nodes = (units >> 31 == 0) | (places == 0)
    bases = (places ^ (units >> 10 << ((units & 1 << 9) >> 6)))[nodes]
    if (bases | 0xFF).max() >= len(units):  # any byte may be looked up below any node
        raise ValueError("the table of characters to replace leads outside itself")
    found = units[bases[units[nodes] >> 8 & 1 == 1]] & 0x7FFFFFFF
    if len(found) and (found.max() >= len(texts) or (texts[found] & 0xC0 == 0x80).any()):
        raise ValueError("the table of characters to replace points to a replacement that does not exist")
