"""CompressedDecoder: the decoder's matrices, each compressed when it is asked for and kept by nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from edgesw.compress.compensate import Hessian
from edgesw.compress.compression import compress_matrix
from edgesw.compress.hold_out import NO_HOLD_OUT, HoldOut
from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.matrix_file import find_matrix, kept_path, save_matrix
from edgesw.compress.plan import CompressionPlan
from edgesw.decoder.ops import Weights
from edgesw.errors import CheckpointError


class CompressedDecoder:
    """Compressed matrices and float vectors by canonical name. Also `Weights`: the float decoder that it stands for."""

    def __init__(
        self,
        weights: Weights,
        plan: CompressionPlan,
        importance: Mapping[str, np.ndarray] | None = None,
        hold_out: HoldOut = NO_HOLD_OUT,
    ) -> None:
        """`importance` maps matrix names to (columns,)."""
        self._weights, self.plan, self.importance, self.hold_out = weights, plan, importance or {}, hold_out
        self.progress: Callable[[str], None] | None = None
        """Called with a matrix's name before it is compressed."""
        self.kept_in: Path | None = None
        """A folder for each matrix that is compressed; one that is in it is taken from there."""

    def matrix(self, name: str) -> CompressedMatrix:
        """The compressed matrix, made now. CheckpointError for one that holds NaN or infinity."""
        return self._compressed(name)

    def _compressed(self, name: str, hessian: Hessian | None = None) -> CompressedMatrix:
        if self.progress:
            self.progress(name)
        path = None if self.kept_in is None else kept_path(self.kept_in, name)
        if path is not None and (kept := find_matrix(path, self.plan.scheme(name))) is not None:
            return kept
        weights, importance = self._finite(name), self.importance.get(name)
        matrix = compress_matrix(weights, self.plan.scheme(name), importance, self.hold_out.of(name), hessian)
        if path is not None:
            save_matrix(path, matrix)
        return matrix

    def vector(self, name: str) -> np.ndarray:
        """A norm's weights or a bias, float32."""
        return self._finite(name)

    def tensor(self, name: str) -> np.ndarray:
        """What the compressed matrix or the vector stands for, float32."""
        if name == "lm_head" and name not in self.plan:  # tied: the head is the embedding, as it is stored
            name = "embed_tokens"
        return self.matrix(name).dequantize() if name in self.plan else self.vector(name)

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self.tensor(name)[rows]

    def _finite(self, name: str) -> np.ndarray:
        values = self._weights.tensor(name)
        if not np.isfinite(values.sum()):
            raise CheckpointError(
                f"tensor '{name}' holds NaN or infinity: the checkpoint is damaged. Download it again."
            )
        return values
