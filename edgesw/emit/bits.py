"""Packing of codes narrower than a byte."""

from __future__ import annotations

import numpy as np


def pack_bits(codes: np.ndarray, bits: int) -> np.ndarray:
    """uint8 codes below 2**bits -> bytes, low bits first, in C order: uint8 (ceil(size * bits / 8),)."""
    flat: np.ndarray = np.ascontiguousarray(codes).reshape(-1)
    if 8 % bits:
        # 3 and 6 bits: eight codes fill `bits` bytes exactly; a multiple of those at a time bounds the memory.
        step = 1 << 20
        return np.concatenate([_repack(flat[at : at + step], bits) for at in range(0, flat.size, step)])
    lanes = 8 // bits
    flat = np.pad(flat, (0, -flat.size % lanes)).reshape(-1, lanes)
    packed = flat[:, 0].copy()
    for lane in range(1, lanes):
        packed |= flat[:, lane] << np.uint8(bits * lane)
    return packed


def _repack(codes: np.ndarray, bits: int) -> np.ndarray:
    bits_of_codes = np.unpackbits(codes[:, None], axis=1, bitorder="little", count=bits)
    return np.packbits(bits_of_codes, bitorder="little")
