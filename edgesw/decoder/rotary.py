"""Rotary position embedding: the table of angles that every interpreter uses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgesw.decoder.spec import Rotary


def rotary_tables(rotary: Rotary, positions: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines, float32 (positions, head_dim / 2), of position * frequency (arXiv 2104.09864).

    `positions` is the length of the sequence, or the context of a package: it decides between the short and the long
    frequencies of a LongRoPE, for all positions.
    """
    frequencies = np.array(rotary_of_context(rotary, positions).frequencies)
    angles = np.outer(np.arange(positions, dtype=np.float64), frequencies)
    scale = np.where(frequencies == 0, 1.0, rotary.scale)
    return (scale * np.cos(angles)).astype(np.float32), (scale * np.sin(angles)).astype(np.float32)


def rotary_of_context(rotary: Rotary, context: int) -> Rotary:
    """The embedding of a package with caches for `context` tokens, however few of them there are yet: only one of the
    two frequencies of a LongRoPE is left."""
    long = rotary.long_frequencies and context > rotary.long_from
    frequencies = rotary.long_frequencies if long else rotary.frequencies
    return replace(rotary, frequencies=frequencies, long_frequencies=())
