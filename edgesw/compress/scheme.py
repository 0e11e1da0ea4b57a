"""Scheme: how a matrix is stored. DensePart: a matrix stored in this way, without the values that are held out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from edgesw.compress.capabilities import Capabilities
from edgesw.compress.output_error import OutputError


@dataclass(frozen=True)
class Scheme(ABC):
    """How a matrix is stored. Each kind of scheme is a subclass that fits matrices, counts their bytes and prints
    itself. Fitting returns a `DensePart`, which decodes."""

    bits: int
    """Code bits per weight."""
    group: int
    """Rows that share a palette, or columns that share a scale."""

    kind: ClassVar[str]
    """Its name on the command line and in `Capabilities`."""

    @classmethod
    @abstractmethod
    def planned(
        cls, rows: int, columns: int, bits: int, group: int | None, can: Capabilities, cluster_dim: int
    ) -> Scheme:
        """The scheme of a matrix (rows, columns) in a format. `group` is None for the default, `cluster_dim` the
        largest number of values in a palette entry. UsageError for a group size that the format lacks."""

    @property
    def code_bits(self) -> int:
        """Width of a stored code."""
        return self.bits

    @property
    def shared_rows(self) -> int:
        """The number of neighbouring rows that are fitted together."""
        return 1

    @abstractmethod
    def stored_bytes(self, rows: int, columns: int) -> int:
        """Bytes of a matrix (rows, columns): codes, and palettes or scales and zero points."""

    @abstractmethod
    def text(self, columns: int | None = None) -> str:
        """The scheme as it is printed: `palette 4 bits, groups of 16 rows`. `columns` are those of the matrix."""

    @abstractmethod
    def fit(self, weights: np.ndarray, importance: np.ndarray | None, exact: np.ndarray | None) -> DensePart:
        """Fits float32 (rows, columns), with the squared error of each column weighted by its `importance` (columns,).
        Where `exact` (rows, columns) is True the weights are zero and do not count: their values are held out."""

    @abstractmethod
    def restored(self, arrays: Mapping[str, np.ndarray]) -> DensePart:
        """The dense part of this scheme with these `arrays`. TypeError if they belong to another scheme."""

    def __str__(self) -> str:
        return self.text()


@dataclass(frozen=True)
class DensePart(ABC):
    """A matrix as codes, with the palettes or scales that decode them."""

    scheme: Scheme
    codes: np.ndarray
    """Uint8, each below 2**code_bits: (rows, columns), or fewer rows if a code represents values in several."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the matrix."""
        rows, columns = self.codes.shape
        return rows, columns

    @abstractmethod
    def decode(self) -> np.ndarray:
        """The matrix, float32 (rows, columns)."""

    @abstractmethod
    def decode_at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Only these places of the matrix, float32, in the shape that the two indices broadcast to."""

    @abstractmethod
    def refined(self, error: OutputError) -> DensePart:
        """The part after error compensation, which reduces `error`: codes by coordinate descent, palettes or scales by
        least squares."""

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Everything but the scheme, by field name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
