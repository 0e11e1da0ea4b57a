"""Coordinates of a super weight."""

from __future__ import annotations

Coordinates = tuple[int, int, int]
"""(layer, row, column) of a scalar of `down_proj.weight` as stored by Hugging Face; the row is the output channel."""
