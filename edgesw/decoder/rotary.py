"""Rotary position embedding: the angles, which every interpreter takes from here."""

from __future__ import annotations

import numpy as np

from edgesw.checkpoint.spec import DecoderSpec


def rotary_tables(spec: DecoderSpec, positions: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines, float32 (positions, head_dim / 2), of position * theta^(-2i / head_dim) (arXiv 2104.09864)."""
    frequency = spec.rope_theta ** -(np.arange(0, spec.head_dim, 2, dtype=np.float64) / spec.head_dim)
    angles = np.outer(np.arange(positions, dtype=np.float64), frequency)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
