"""KeptMatrices: a decoder's compressed matrices kept in a folder, for the next target that has the same plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.matrix import CompressedMatrix, HeldOutColumns, HeldOutScalars

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
        if (whole := matrix.held_out_columns) is not None:
            arrays |= {"whole_columns": whole.columns, "whole_values": whole.values}
        if (each := matrix.held_out_scalars) is not None:
            arrays |= {"rows": each.rows, "columns": each.columns, "values": each.values}
        np.savez(path, **arrays)
        return matrix

    def vector(self, name: str) -> np.ndarray:
        return self._decoder.vector(name)

    def _load(self, name: str, path: Path) -> CompressedMatrix:
        with np.load(path) as stored:
            whole = (
                HeldOutColumns(stored["whole_columns"], stored["whole_values"]) if "whole_columns" in stored else None
            )
            each = HeldOutScalars(stored["rows"], stored["columns"], stored["values"]) if "rows" in stored else None
            arrays = {kind: stored[kind] for kind in _ARRAYS if kind in stored}
        return CompressedMatrix(self.plan.scheme(name), held_out_columns=whole, held_out_scalars=each, **arrays)
