"""The type in which products are computed where much is multiplied and the last bits do not count."""

from __future__ import annotations

import time
from functools import cache

import torch
import torch.nn.functional as F

# How many times as fast as in float32 a product must be to be taken. Where bfloat16 is emulated it is slower, where the
# processor multiplies it (AVX-512 BF16, AMX, ARM's BF16) three to five times as fast.
WORTH = 1.5


_ROWS, _WIDE = 512, 1024


@cache
def product_rates() -> dict[torch.dtype, float]:
    """The multiplications and additions that a second of one core is worth, in float32 and in bfloat16.
    Measured once, in a twentieth of a second."""
    rates, threads = {}, torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for dtype in (torch.float32, torch.bfloat16):
            x, weight = torch.ones((_ROWS, _WIDE), dtype=dtype), torch.ones((_WIDE, _WIDE), dtype=dtype)
            took = []
            for _ in range(4):
                began = time.thread_time()
                F.linear(x, weight)
                took.append(time.thread_time() - began)
            rates[dtype] = 2 * _ROWS * _WIDE**2 / max(min(took), 1e-9)
    finally:
        torch.set_num_threads(threads)
    return rates


def product_dtype() -> torch.dtype:
    """Bfloat16, with sums in float32, where a product of this processor is faster by WORTH than in float32; else
    float32."""
    rates = product_rates()
    return torch.bfloat16 if rates[torch.bfloat16] > WORTH * rates[torch.float32] else torch.float32
