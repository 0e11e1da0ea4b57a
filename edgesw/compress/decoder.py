"""CompressedDecoder: the decoder's matrices, each compressed when it is asked for and kept by nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgesw.compress.blocks import fit_blocks
from edgesw.compress.compensate import Moments, compensate
from edgesw.compress.matrix import CompressedMatrix, HeldOutColumns, HeldOutScalars, Scheme, to_float16
from edgesw.compress.matrix_file import find_matrix, kept_path, save_matrix
from edgesw.compress.palette import encode_palettes, fit_palettes
from edgesw.compress.plan import CompressionPlan
from edgesw.compress.vectors import fit_vectors
from edgesw.decoder.names import TensorName, down_proj
from edgesw.decoder.ops import Weights
from edgesw.errors import CheckpointError


def compress_matrix(
    weights: np.ndarray,
    scheme: Scheme,
    importance: np.ndarray | None = None,
    held_out: Iterable[tuple[int, int]] = (),
    columns: Iterable[int] = (),
    moments: Moments | None = None,
    fraction: float = 0.0,
) -> CompressedMatrix:
    """Compress float32 (rows, columns). Neither the (row, column) scalars in `held_out` nor whole `columns` are part of
    what the dense part is fitted to: their places hold what is nearest to zero. Their values are kept in float16.

    With `moments` of the input, errors make up for each other and for those of earlier layers, held-out values among
    them; without, each column counts by its `importance` (columns,) alone, or all the same.

    This `fraction` of the scalars is held out too, those that rounding harms most.
    """
    if moments is not None:
        weights = moments.matched(weights)
        importance = np.diagonal(moments.damped)
    whole, places = sorted(set(columns)), list(held_out)
    apart = HeldOutColumns(np.array(whole, np.int32), to_float16(weights[:, whole].T)) if whole else None
    if whole and importance is not None:
        importance = importance.copy()  # importances are relative: one of thousands would leave nothing of the others
        importance[whole] = 0
    exact = None
    if whole or places or fraction:
        exact = np.zeros(weights.shape, bool)
        exact[:, whole] = True
        for place in places:
            exact[place] = True
    matrix = _fitted(weights, scheme, importance, exact)
    if exact is not None and (count := round(fraction * weights.size)):
        exact |= _most_harmed(weights, matrix.dense(), importance, exact, count)
        matrix = _fitted(weights, scheme, importance, exact)
    scalars = None if exact is None else _scalars(weights, exact, whole)
    matrix = replace(matrix, held_out_columns=apart, held_out_scalars=scalars)
    return matrix if moments is None else compensate(weights, moments.damped, matrix, exact)


def prepare(schemes: Iterable[Scheme], compensated: bool) -> None:
    """Compile what matrices of these schemes are fitted by, or load what was compiled before: some seconds for each
    kind, once on a machine."""
    few, eye = np.zeros((4, 4), np.float32), np.eye(4, dtype=np.float32)
    moments = Moments(eye, eye, 1) if compensated else None
    for kind, vector in sorted({(scheme.kind, scheme.vector) for scheme in schemes}):
        compress_matrix(few, Scheme(kind, 2, 4, kind == "block", vector), moments=moments)


def _fitted(
    weights: np.ndarray, scheme: Scheme, importance: np.ndarray | None, exact: np.ndarray | None
) -> CompressedMatrix:
    """The dense part. Where `exact` (rows, columns) is True the place holds what is nearest to zero."""
    if exact is not None:
        weights = np.where(exact, np.float32(0), weights)
    if scheme.vector > 1:
        palettes, codes = fit_vectors(weights, scheme.code_bits, scheme.group, scheme.vector, importance, exact)
        return CompressedMatrix(scheme, codes, palettes)
    if scheme.kind == "palette":
        palettes = fit_palettes(weights, scheme.bits, scheme.group, importance, exact)
        return CompressedMatrix(scheme, encode_palettes(weights, palettes, scheme.group), palettes)
    codes, scales, zeros = fit_blocks(weights, scheme.bits, scheme.group, scheme.zero_points, importance)
    return CompressedMatrix(scheme, codes, scales=scales, zero_points=zeros)


def _most_harmed(
    weights: np.ndarray, dense: np.ndarray, importance: np.ndarray | None, exact: np.ndarray, count: int
) -> np.ndarray:
    """Where the squared error times the importance of its column is largest: `count` True in bool (rows, columns)."""
    harm = np.square(weights - dense) * (1 if importance is None else importance.astype(np.float32))
    harm[exact] = -1
    places = np.zeros(weights.size, bool)
    places[np.argpartition(harm, -count, axis=None)[-count:]] = True
    return places.reshape(weights.shape)


def _scalars(weights: np.ndarray, exact: np.ndarray, whole: list[int]) -> HeldOutScalars | None:
    """What is exact and in none of the columns that are held out whole."""
    rows, columns = np.nonzero(exact)
    apart = ~np.isin(columns, whole)
    rows, columns = rows[apart].astype(np.int32), columns[apart].astype(np.int32)
    return HeldOutScalars(rows, columns, to_float16(weights[rows, columns])) if len(rows) else None


class CompressedDecoder:
    """Compressed matrices and float vectors by canonical name. Also `Weights`: the float decoder that it stands for."""

    def __init__(
        self,
        weights: Weights,
        plan: CompressionPlan,
        importance: Mapping[str, np.ndarray] | None = None,
        held_out: Iterable[tuple[int, int, int]] = (),
        columns: Mapping[str, Iterable[int]] | None = None,
        fraction: float = 0.0,
    ) -> None:
        """`held_out` are (layer, row, column) of down_proj, `columns` whole columns to hold out by matrix name, and
        `fraction` the share of scalars of each of the layers' matrices; `importance` maps matrix names to (columns,).
        """
        self._weights, self.plan, self.importance, self.fraction = weights, plan, importance or {}, fraction
        self.held_out = tuple(sorted(set(held_out)))
        self.columns = {name: tuple(each) for name, each in (columns or {}).items()}
        self.progress: Callable[[str], None] | None = None
        """Called with a matrix's name before it is compressed."""
        self.kept_in: Path | None = None
        """A folder for each matrix that is compressed; one that is in it is taken from there."""

    def matrix(self, name: str) -> CompressedMatrix:
        """The compressed matrix, made now. CheckpointError for one that holds NaN or infinity."""
        return self._compressed(name)

    def _compressed(self, name: str, moments: Moments | None = None) -> CompressedMatrix:
        if self.progress:
            self.progress(name)
        path = None if self.kept_in is None else kept_path(self.kept_in, name)
        if path is not None and (kept := find_matrix(path, self.plan.scheme(name))) is not None:
            return kept
        places = [(row, column) for layer, row, column in self.held_out if name == down_proj(layer)]
        matrix = compress_matrix(
            self._finite(name),
            self.plan.scheme(name),
            self.importance.get(name),
            places,
            self.columns.get(name, ()),
            moments,
            0.0 if TensorName.parse(name).layer is None else self.fraction,
        )
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
