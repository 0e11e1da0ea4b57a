"""CompressedDecoder: the decoder's matrices, each compressed when it is asked for, or read from a store."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgesw.compress.compensate import Hessian
from edgesw.compress.compression import compress_matrix
from edgesw.compress.hold_out import NO_HOLD_OUT, HoldOut
from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.matrix_store import MatrixStore
from edgesw.compress.plan import CompressionPlan
from edgesw.decoder.ops import Weights
from edgesw.errors import CheckpointError


class CompressedDecoder:
    """Compressed matrices and float vectors by canonical name. Also `Weights`: the float decoder that they represent.
    No matrix stays in memory."""

    def __init__(
        self,
        weights: Weights,
        plan: CompressionPlan,
        importance: Mapping[str, np.ndarray] | None = None,
        hold_out: HoldOut = NO_HOLD_OUT,
        store: MatrixStore | None = None,
        on_matrix: Callable[[str], None] = lambda name: None,
    ) -> None:
        """`importance` maps matrix names to (columns,). A matrix that is in the store is read from there, any other is
        added to it. `on_matrix` is called with each matrix's name, once, when its turn has come."""
        self._weights, self.plan, self.importance, self.hold_out = weights, plan, importance or {}, hold_out
        self._store, self._on_matrix, self._announced = store, on_matrix, set[str]()

    def matrix(self, name: str) -> CompressedMatrix:
        """The compressed matrix. CheckpointError for one that holds NaN or infinity."""
        self._announce(name)
        found = self._stored(name)
        return self._compressed(name, self._finite(name)) if found is None else found

    def _stored(self, name: str) -> CompressedMatrix | None:
        """The matrix in the store, if it is there."""
        return None if self._store is None else self._store.find(name, self.plan.scheme(name))

    def _compressed(self, name: str, weights: np.ndarray, hessian: Hessian | None = None) -> CompressedMatrix:
        matrix = compress_matrix(
            weights, self.plan.scheme(name), self.importance.get(name), self.hold_out.of(name), hessian
        )
        if self._store is not None:
            self._store.add(name, matrix)
        return matrix

    def _announce(self, name: str) -> None:
        if name not in self._announced:
            self._announced.add(name)
            self._on_matrix(name)

    def vector(self, name: str) -> np.ndarray:
        """A norm's weights or a bias, float32."""
        return self._finite(name)

    def tensor(self, name: str) -> np.ndarray:
        """The vector, or the float matrix that the compressed one represents, float32."""
        if name == "lm_head" and name not in self.plan:  # tied: the head is the embedding, as stored
            name = "embed_tokens"
        return self.matrix(name).dequantize() if name in self.plan else self.vector(name)

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self.matrix(name).dequantize_rows(rows) if name in self.plan else self.tensor(name)[rows]

    def _finite(self, name: str) -> np.ndarray:
        values = self._weights.tensor(name)
        if not np.isfinite(values.sum()):
            raise CheckpointError(
                f"tensor '{name}' holds NaN or infinity: the checkpoint is damaged. Download it again."
            )
        return values
