"""The type in which products are computed where much is multiplied and the last bits do not count."""

from __future__ import annotations

import time
from functools import cache

import torch
import torch.nn.functional as F

# How many times as fast as in float32 a product must be to be taken. Where bfloat16 is emulated it is slower, where the
# processor multiplies it (AVX-512 BF16, AMX, ARM's BF16) three to five times as fast.
WORTH = 1.5


@cache
def product_dtype() -> torch.dtype:
    """Bfloat16, with sums in float32, where a product of this processor is faster by WORTH than in float32; else
    float32. Measured once, in a twentieth of a second."""
    took = {}
    for dtype in (torch.float32, torch.bfloat16):
        x, weight = torch.ones((512, 1024), dtype=dtype), torch.ones((1024, 1024), dtype=dtype)
        times = []
        for _ in range(3):
            began = time.thread_time()
            F.linear(x, weight)
            times.append(time.thread_time() - began)
        took[dtype] = min(times)
    return torch.bfloat16 if took[torch.bfloat16] * WORTH < took[torch.float32] else torch.float32
