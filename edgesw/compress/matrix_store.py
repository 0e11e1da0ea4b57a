"""MatrixStore: a folder of compressed matrices, for other targets, for the next run and for worker processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.matrix_file import find_matrix, matrix_path, save_matrix
from edgesw.compress.scheme import Scheme


class Policy(Enum):
    """Whether a matrix stays in the store once it has been read."""

    KEEP = "keep"
    """It stays, for another target with the same plan, or for the next run where this one is interrupted."""
    TAKE = "take"
    """It is removed: worker processes put matrices there and each is read once, so few are on disk at a time."""


@dataclass(frozen=True)
class MatrixStore:
    """Compressed matrices by name, a byte per weight. All are of one plan; the folder is the caller's to remove."""

    folder: Path
    policy: Policy
    fill: Callable[[str], None] = lambda name: None
    """Called with a matrix's name before it is looked up; returns once worker processes have put it there."""

    def find(self, name: str, scheme: Scheme) -> CompressedMatrix | None:
        """The matrix, or None where the store does not have it."""
        self.fill(name)
        path = matrix_path(self.folder, name)
        matrix = find_matrix(path, scheme)
        if matrix is not None and self.policy is Policy.TAKE:
            path.unlink()
        return matrix

    def add(self, name: str, matrix: CompressedMatrix) -> None:
        """Stores a matrix that was compressed in this process, where the policy is to keep it."""
        if self.policy is Policy.KEEP:
            save_matrix(matrix_path(self.folder, name), matrix)
