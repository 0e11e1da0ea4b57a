"""KeptMatrices: a decoder's compressed matrices kept in a folder, for the next target that has the same plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.matrix_file import find_matrix, kept_path, save_matrix


class KeptMatrices(CompressedDecoder):
    """What `decoder` compresses, each matrix once: to compensate a model's matrices takes minutes."""

    def __init__(self, decoder: CompressedDecoder, folder: Path) -> None:
        """`folder` is the caller's to remove, and holds matrices of this plan or none. It takes a byte for each
        weight."""
        self._decoder, self._folder = decoder, folder
        self.plan, self.hold_out = decoder.plan, decoder.hold_out
        self.progress = None

    def matrix(self, name: str) -> CompressedMatrix:
        if self.progress:
            self.progress(name)
        path = kept_path(self._folder, name)
        if (kept := find_matrix(path, self.plan.scheme(name))) is not None:
            return kept
        matrix = self._decoder.matrix(name)
        if not path.exists():
            save_matrix(path, matrix)
        return matrix

    def vector(self, name: str) -> np.ndarray:
        return self._decoder.vector(name)
