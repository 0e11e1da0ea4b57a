"""Packing of codes, compared with a reading bit by bit."""

from __future__ import annotations

import numpy as np
import pytest

from edgesw.emit.bits import pack_bits


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("count", [1, 7, 64, (1 << 20) + 3])
def test_low_bits_come_first(bits: int, count: int) -> None:
    """Both formats read codes from the low bits up: in another order they would be another matrix."""
    codes = np.random.default_rng(0).integers(0, 2**bits, count, np.uint8)
    packed = pack_bits(codes, bits)
    assert packed.size == -(-count * bits // 8)
    whole = int.from_bytes(packed.tobytes()[:3000], "little")
    for index in range(min(count, 900)):
        assert (whole >> (index * bits)) & (2**bits - 1) == codes[index]
    if count > 1 << 20:  # across the border of two parts
        at = (count - 5) * bits
        tail = int.from_bytes(packed.tobytes()[at // 8 :], "little") >> (at % 8)
        assert [(tail >> (i * bits)) & (2**bits - 1) for i in range(5)] == codes[-5:].tolist()
