"""Matrices that are decoded from a model file of any origin: what cannot be decoded is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgesw.errors import EdgeswError, PackageError, first_line


def decoded(path: Path, name: str, shape: tuple[int, int], decode: Callable[[], np.ndarray]) -> np.ndarray:
    """The matrix that `decode` gives, of this shape. PackageError where it gives another one, or fails: a runtime may
    pass over what is damaged in a part that it does not use."""
    try:
        matrix = decode()
    except EdgeswError:
        raise
    except Exception as error:  # of numpy and onnx, for whatever is wrong in an initializer
        raise PackageError(f"{path}: '{name}' cannot be decoded ({first_line(error)}): convert again.") from error
    if matrix.shape != shape:
        raise PackageError(f"{path}: '{name}' decodes to {matrix.shape} and not to {shape}: convert again.")
    return matrix
