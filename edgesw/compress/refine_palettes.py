"""Error compensation of palettes, whose entries are single values or vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgesw.compress.compensation import reduce_error
from edgesw.compress.float16 import to_float16
from edgesw.compress.output_error import OutputError
from edgesw.compress.threads import threaded


def refine_palettes(
    error: OutputError, codes: np.ndarray, palettes: np.ndarray, group: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes, uint8 (rows, columns), and ascending palettes, float16 (groups, entries), with a smaller error.

    `codes` of places that are exact stay. `group` are the rows that share a palette, 0 for all.
    """
    codes, vectors = refine_vectors(error, codes, palettes[..., None], group)
    return codes, vectors[..., 0]


def refine_vectors(
    error: OutputError, codes: np.ndarray, palettes: np.ndarray, group: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `refine_palettes`, for codes (rows / vector, columns) and palettes (groups, entries, vector), whose entries
    have no order."""
    coded = _Palettes(codes.copy(), palettes.astype(np.float32), group or len(error.weights))
    reduce_error(error, coded)
    return coded.codes, coded.values.astype(np.float16)


@dataclass
class _Palettes:
    """`Coded` as indices. The values are the palettes, float32 (groups, entries, vector)."""

    rounds: ClassVar[int] = 0  # a fit with all of H would reduce the error by 0.1% to 0.3%
    codes: np.ndarray
    values: np.ndarray
    group: int

    @property
    def owners(self) -> np.ndarray:
        return np.arange(len(self.codes) * self.values.shape[2]) // self.group

    def decode(self, rows: slice, values: np.ndarray) -> np.ndarray:
        codes, owners = self._codes(rows)
        wide = values[owners[:, None], codes]
        return wide[..., 0] if wide.shape[2] == 1 else wide.transpose(0, 2, 1).reshape(-1, wide.shape[1])

    def descend(
        self,
        error: OutputError,
        rows: slice,
        columns: slice,
        gradients: np.ndarray,
        hessian: np.ndarray,
        steps: np.ndarray,
    ) -> None:
        from edgesw.compress.descent import descend_palettes  # takes long to load
        from edgesw.compress.vector_codes import descend_vectors

        every, owners = self._codes(rows)
        codes, exact = np.ascontiguousarray(every[:, columns]), np.ascontiguousarray(error.exact[rows, columns])
        if self.values.shape[2] == 1:
            palettes = np.ascontiguousarray(self.values[..., 0])
            descend_palettes(gradients, hessian, exact, codes, palettes, owners, steps)
        else:
            palettes = np.ascontiguousarray(self.values.transpose(0, 2, 1))
            descend_vectors(gradients, hessian, exact, codes, palettes, owners, steps)
        every[:, columns] = codes

    def fitted(self, error: OutputError, gradients: list[np.ndarray]) -> np.ndarray:
        from edgesw.compress.fits import add_palette_fits  # takes long to load

        groups, entries, vector = self.values.shape

        def fits(tile: tuple[slice, np.ndarray]) -> tuple[slice, np.ndarray, np.ndarray]:
            rows, gradient = tile
            every, owners = self._codes(rows)
            own = slice(int(owners[0]), int(owners[-1]) + 1)
            count = own.stop - own.start
            a, b = np.zeros((count, vector, entries, entries)), np.zeros((count, vector, entries))
            for at, columns in enumerate(error.blocks):
                codes, exact = np.ascontiguousarray(every[:, columns]), np.ascontiguousarray(error.exact[rows, columns])
                hessian = error.hessian[at, columns].numpy()
                add_palette_fits(gradient[at], hessian, exact, codes, owners - own.start, a, b)
            return own, a, b

        a, b = np.zeros((groups, vector, entries, entries)), np.zeros((groups, vector, entries))
        for own, some_a, some_b in threaded(fits, list(zip(error.tiles, gradients, strict=True))):
            a[own] += some_a
            b[own] += some_b
        return to_float16(self.values + _solved(a, b).transpose(0, 2, 1)).astype(np.float32)

    def adopt(self, values: np.ndarray) -> None:
        """Entries that are single values are brought into ascending order, with the codes."""
        self.values = values
        if values.shape[2] == 1:
            order = np.argsort(values, axis=1, kind="stable")  # nearly always the present order
            self.values = np.take_along_axis(values, order, 1)
            ranks = np.argsort(order[..., 0], axis=1).astype(np.uint8)
            for group, rank in enumerate(ranks):
                if (order[group, :, 0] != np.arange(len(rank))).any():
                    own = slice(group * self.group, (group + 1) * self.group)
                    self.codes[own] = rank[self.codes[own]]

    def _codes(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """The codes of these rows, as a view, and which palettes they index."""
        vector = self.values.shape[2]
        return self.codes[rows.start // vector : rows.stop // vector], self.owners[rows][::vector].copy()


def _solved(system: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The solutions of many system @ x = right, (..., n, n) and (..., n): where a system leaves something open, in
    effect the smallest."""
    size = system.shape[-1]
    ridge = 1e-6 * np.trace(system, axis1=-2, axis2=-1) / size + np.finfo(np.float64).tiny
    return np.asarray(np.linalg.solve(system + ridge[..., None, None] * np.eye(size), right[..., None])[..., 0])
