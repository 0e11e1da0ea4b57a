"""HoldOut: the values that are kept out of the dense parts in float16 and added back as sparse corrections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edgesw.decoder.names import TensorName, down_proj
from edgesw.recipes.coordinates import Coordinates


@dataclass(frozen=True)
class MatrixHoldOut:
    """What is held out of one matrix."""

    columns: tuple[int, ...] = ()
    """Whole columns."""
    scalars: tuple[tuple[int, int], ...] = ()
    """(row, column) each."""
    fraction: float = 0.0
    """The share of the scalars to hold out in addition: those that quantization harms most."""

    def mask(self, shape: tuple[int, int]) -> np.ndarray | None:
        """Bool (rows, columns), True at the columns and scalars; None if nothing is held out."""
        if not (self.columns or self.scalars or self.fraction):
            return None
        mask = np.zeros(shape, bool)
        mask[:, list(self.columns)] = True
        for place in self.scalars:
            mask[place] = True
        return mask


@dataclass(frozen=True)
class HoldOut:
    """What is held out of a decoder's matrices."""

    columns: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Whole columns by matrix name, ascending."""
    scalars: tuple[Coordinates, ...] = ()
    """Single scalars of `down_proj`. Conversions hold out their whole columns, which take no more bytes."""
    fraction: float = 0.0
    """The share of the scalars of each of the layers' matrices to hold out in addition."""

    def only(self, name: str) -> HoldOut:
        """What is held out of this matrix and no other."""
        columns = {name: self.columns[name]} if name in self.columns else {}
        return HoldOut(columns, tuple(each for each in self.scalars if down_proj(each[0]) == name), self.fraction)

    def of(self, name: str) -> MatrixHoldOut:
        """What is held out of the matrix with this name."""
        scalars = tuple((row, column) for layer, row, column in self.scalars if down_proj(layer) == name)
        in_layer = TensorName.parse(name).layer is not None
        return MatrixHoldOut(self.columns.get(name, ()), scalars, self.fraction if in_layer else 0.0)


NO_MATRIX_HOLD_OUT, NO_HOLD_OUT = MatrixHoldOut(), HoldOut()
