"""Scheme: how a matrix is stored; DensePart: a matrix that is stored so, without what is held out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Self

import numpy as np

from edgesw.compress.capabilities import Capabilities
from edgesw.compress.output_error import OutputError


@dataclass(frozen=True)
class Scheme(ABC):
    """How a matrix is stored. Each kind is a subclass, which fits matrices and says what they take and what they are
    called; what decodes them is the `DensePart` that it makes."""

    bits: int
    """Code bits per weight."""
    group: int
    """Rows or columns that share what decodes their codes."""

    kind: ClassVar[str]
    """Its name on the command line and in `Capabilities`."""

    @classmethod
    @abstractmethod
    def planned(
        cls, rows: int, columns: int, bits: int, group: int | None, can: Capabilities, cluster_dim: int
    ) -> Self:
        """The scheme of a matrix (rows, columns) in a format. `group` None: the default; `cluster_dim`: values to an
        entry of a palette at most. UsageError for a group size that the format lacks."""

    @property
    def code_bits(self) -> int:
        """Width of a stored code."""
        return self.bits

    @property
    def shared_rows(self) -> int:
        """Neighbouring rows that are fitted together."""
        return 1

    @abstractmethod
    def stored_bytes(self, rows: int, columns: int) -> int:
        """Bytes that a matrix (rows, columns) takes: its codes and what decodes them."""

    @abstractmethod
    def text(self, columns: int | None = None) -> str:
        """The scheme as it is printed: `palette 4 bits, groups of 16 rows`. `columns` are those of the matrix."""

    @abstractmethod
    def fit(self, weights: np.ndarray, importance: np.ndarray | None, exact: np.ndarray | None) -> DensePart:
        """Fit float32 (rows, columns), the squared error of each column weighted by its `importance` (columns,).
        Where `exact` (rows, columns) is True the weights are zero and are held out; such places are not fitted to."""

    @abstractmethod
    def restored(self, arrays: Mapping[str, np.ndarray]) -> DensePart:
        """The part of this scheme that has these `arrays`. TypeError where they are those of another scheme."""

    def __str__(self) -> str:
        return self.text()


@dataclass(frozen=True)
class DensePart(ABC):
    """A matrix as codes and what decodes them."""

    scheme: Scheme
    codes: np.ndarray
    """Uint8, each below 2**code_bits: (rows, columns), or fewer rows where a code represents values of several."""

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
        """A part of the same scheme whose `error` is smaller, or this one's: what decodes the codes by least squares,
        then the codes by coordinate descent."""

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Everything but the scheme, by field name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
