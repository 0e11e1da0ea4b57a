"""The matrices that a Core ML package holds, decoded: what it computes with in place of the float ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgesw.errors import PackageError
from edgesw.runtime.coreml_interface import packages, read_interface
from edgesw.runtime.mil_plan import load_plan


class CoreMLMatrices:
    """Of an .mlpackage, or of a folder of them, by the names that its constants have."""

    def __init__(self, path: Path, columns: Mapping[str, Sequence[int]], zeroed: bool) -> None:
        """`columns` are held out whole, by matrix name; `zeroed`: the dense part gets zeros for them."""
        self._columns, self._zeroed = columns, zeroed
        self._constants: dict[str, Any] = {}
        for part in packages(path):
            function = next(iter(read_interface(part).lengths))
            self._constants |= load_plan(part, function, half=False).constants

    def matrix(self, name: str) -> np.ndarray:
        plain = name.replace(".", "_")
        matrix = np.array(self._flat(plain), np.float32)
        if columns := self._columns.get(name):
            delta = self._flat(f"{plain}_correction").astype(np.float32)
            whole = delta if len(delta) == len(matrix) else delta.T  # a convolution's kernel is (rows, columns)
            matrix[:, columns] = whole if self._zeroed else matrix[:, columns] + whole
        if f"{plain}_scalar_deltas" in self._constants:
            deltas, rows, at = (self._flat(f"{plain}_scalar_{part}") for part in ("deltas", "rows", "columns"))
            matrix[rows, at] += deltas
        return matrix

    def _flat(self, name: str) -> np.ndarray:
        """A constant without axes of one element behind the first two."""
        if name not in self._constants:
            raise PackageError(f"the package has no '{name}': convert again.")
        values: np.ndarray = self._constants[name].numpy()
        return (
            values.reshape(values.shape[:2]) if values.ndim > 2 else values.reshape(-1) if "scalar" in name else values
        )
