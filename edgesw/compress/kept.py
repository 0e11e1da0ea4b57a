"""KeptMatrices: a decoder's compressed matrices kept in a folder, for the next target that has the same plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.stored import load_matrix, save_matrix


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
        path = self._path(name)
        if path.exists():
            return load_matrix(path, self.plan.scheme(name))
        matrix = self._decoder.matrix(name)
        save_matrix(path, matrix)
        return matrix

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.npz"

    def vector(self, name: str) -> np.ndarray:
        return self._decoder.vector(name)
