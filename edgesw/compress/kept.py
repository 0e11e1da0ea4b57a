"""KeptMatrices: a decoder's compressed matrices kept in a folder, for the next target that has the same plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.matrix import CompressedMatrix, HeldOut, HeldOutColumns

_ARRAYS = ("codes", "palettes", "scales", "zero_points")


class KeptMatrices(CompressedDecoder):
    """What `decoder` compresses, each matrix once: to compensate a model's matrices takes minutes."""

    def __init__(self, decoder: CompressedDecoder, folder: Path) -> None:
        """`folder` is empty, and the caller's to remove. It takes a byte for each weight."""
        self._decoder, self._folder = decoder, folder
        self.plan, self.held_out = decoder.plan, decoder.held_out
        self.progress = None

    def matrix(self, name: str) -> CompressedMatrix:
        if self.progress:
            self.progress(name)
        path = self._folder / f"{name}.npz"
        if path.exists():
            return self._load(name, path)
        matrix = self._decoder.matrix(name)
        arrays = {kind: getattr(matrix, kind) for kind in _ARRAYS if getattr(matrix, kind) is not None}
        scalars = np.array([(s.row, s.column, s.value) for s in matrix.held_out], np.float64).reshape(-1, 3)
        if (whole := matrix.held_out_columns) is not None:
            arrays |= {"columns": whole.columns, "values": whole.values}
        np.savez(path, scalars=scalars, **arrays)
        return matrix

    def vector(self, name: str) -> np.ndarray:
        return self._decoder.vector(name)

    def _load(self, name: str, path: Path) -> CompressedMatrix:
        with np.load(path) as stored:
            held = tuple(HeldOut(int(row), int(column), float(value)) for row, column, value in stored["scalars"])
            whole = HeldOutColumns(stored["columns"], stored["values"]) if "columns" in stored else None
            arrays = {kind: stored[kind] for kind in _ARRAYS if kind in stored}
        return CompressedMatrix(self.plan.scheme(name), held_out=held, held_out_columns=whole, **arrays)
