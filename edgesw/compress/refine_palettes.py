"""Error compensation of palettes, whose entries are single values or vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesw.compress.compensation import reduce_error
from edgesw.compress.output_error import OutputError, solved
from edgesw.compress.palette import decode_palettes
from edgesw.compress.threads import threaded

PIECE = 32


def refine_palettes(
    error: OutputError, codes: np.ndarray, palettes: np.ndarray, group: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes, uint8 (rows, columns), and ascending palettes, float16 (groups, entries), with a smaller error.

    `codes` of places that are exact stay. `group` are the rows that share a palette, 0 for all.
    """
    values, codes = refine_vectors(error, codes, palettes[..., None], group)[::-1]
    return codes, values[..., 0]


def refine_vectors(
    error: OutputError, codes: np.ndarray, palettes: np.ndarray, group: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `refine_palettes`, for codes (rows / vector, columns) and palettes (groups, entries, vector), whose entries
    have no order."""
    coded = _Palettes(codes.copy(), np.ascontiguousarray(palettes, np.float32), group or len(error.weights))
    reduce_error(error, coded)
    return coded.codes, coded.values.astype(np.float16)


@dataclass
class _Palettes:
    """A `Coded`, whose values are the palettes, float32 (groups, entries, vector)."""

    codes: np.ndarray
    values: np.ndarray
    group: int

    @property
    def vector(self) -> int:
        return self.values.shape[2]

    @property
    def owners(self) -> np.ndarray:
        return np.arange(len(self.codes) * self.vector) // self.group

    def _of_codes(self, rows: slice) -> tuple[slice, np.ndarray]:
        """The rows of the codes of these rows, and which palettes they index."""
        return slice(rows.start // self.vector, rows.stop // self.vector), self.owners[rows][:: self.vector]

    def decode(self, rows: slice) -> np.ndarray:
        own, owners = self._of_codes(rows)
        wide = self.values[owners[:, None], self.codes[own]]  # (rows / vector, columns, vector)
        return wide[..., 0] if self.vector == 1 else wide.transpose(0, 2, 1).reshape(rows.stop - rows.start, -1)

    def descend(
        self, error: OutputError, rows: slice, columns: slice, gradients: np.ndarray, hessian: np.ndarray, steps: np.ndarray
    ) -> None:
        from edgesw.compress.descent import descend_palettes  # takes long to load
        from edgesw.compress.vector_codes import descend_vectors

        own, owners = self._of_codes(rows)
        exact = np.ascontiguousarray(error.exact[rows, columns])
        codes = np.ascontiguousarray(self.codes[own, columns])
        if self.vector == 1:
            descend_palettes(gradients, hessian, exact, codes, self.values[..., 0].copy(), owners, steps)
        else:
            palettes = np.ascontiguousarray(self.values.transpose(0, 2, 1))
            descend_vectors(gradients, hessian, exact, codes, palettes, owners, steps)
        self.codes[own, columns] = codes

    def fitted(self, error: OutputError, gradients: list[np.ndarray]) -> np.ndarray:
        from edgesw.compress.fits import add_palette_fits  # takes long to load

        hessian = error.hessian.numpy()
        groups, entries, vector = self.values.shape

        def fits(tile: tuple[slice, np.ndarray]) -> tuple[int, np.ndarray, np.ndarray]:
            rows, gradient = tile
            own, owners = self._of_codes(rows)
            first, count = owners[0], owners[-1] - owners[0] + 1
            a, b = np.zeros((count, vector, entries, entries)), np.zeros((count, vector, entries))
            for at, columns in enumerate(error.blocks):
                codes = np.ascontiguousarray(self.codes[own, columns])
                exact = np.ascontiguousarray(error.exact[rows, columns])
                add_palette_fits(gradient[at], hessian[at, columns], exact, codes, owners - first, PIECE, a, b)
            return first, a, b

        a, b = np.zeros((groups, vector, entries, entries)), np.zeros((groups, vector, entries))
        for first, own_a, own_b in threaded(fits, list(zip(error.tiles, gradients, strict=True))):
            a[first : first + len(own_a)] += own_a
            b[first : first + len(own_b)] += own_b
        return self.values + solved(a, b).transpose(0, 2, 1)

    def set_values(self, values: np.ndarray) -> None:
        """Entries that are single values are brought into ascending order, with the codes."""
        if self.vector == 1:
            order = np.argsort(values[..., 0], axis=1, kind="stable")  # nearly always the present order
            values = np.take_along_axis(values, order[..., None], 1)
            self.codes = np.argsort(order, axis=1).astype(np.uint8)[self.owners[:, None], self.codes]
        self.values = values
