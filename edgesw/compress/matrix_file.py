"""A CompressedMatrix as a file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from edgesw.compress.matrix import CompressedMatrix, HeldOutColumns, HeldOutScalars
from edgesw.compress.scheme import Scheme
from edgesw.files.atomic_write import staged

_HELD_OUT = ("whole_columns", "whole_values", "rows", "columns", "values")


def save_matrix(path: Path, matrix: CompressedMatrix) -> None:
    """Writes `path`, which appears only when it is complete."""
    arrays = matrix.dense.arrays
    if (whole := matrix.held_out_columns) is not None:
        arrays |= {"whole_columns": whole.columns, "whole_values": whole.values}
    if (each := matrix.held_out_scalars) is not None:
        arrays |= {"rows": each.rows, "columns": each.columns, "values": each.values}
    with staged(path) as (partial,), partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def find_matrix(path: Path, scheme: Scheme) -> CompressedMatrix | None:
    """Reads the matrix in `path`. None where it is missing, or damaged as after a loss of power, which the archive's
    checksums show, or of another scheme."""
    try:
        return _load(path, scheme)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _load(path: Path, scheme: Scheme) -> CompressedMatrix:
    with np.load(path) as stored:
        whole = HeldOutColumns(stored["whole_columns"], stored["whole_values"]) if "whole_columns" in stored else None
        each = HeldOutScalars(stored["rows"], stored["columns"], stored["values"]) if "rows" in stored else None
        arrays = {name: stored[name] for name in stored.files if name not in _HELD_OUT}
    return CompressedMatrix(scheme.restored(arrays), whole, each)


def matrix_path(folder: Path, name: str) -> Path:
    """Where in `folder` the matrix with this name is stored."""
    return folder / f"{name}.npz"
