"""The matrices that a Core ML model holds, decoded: what it computes with in place of the float ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import PackageError
from edgesw.formats.correction_names import COREML, mil_name
from edgesw.runtime.coreml_interface import packages, read_interface
from edgesw.runtime.decoded import decoded
from edgesw.runtime.mil_plan import load_plan


class CoreMLMatrices:
    """The `PackageMatrices` of an .mlpackage, or of a folder of them, found by the names of constants."""

    def __init__(
        self, path: Path, spec: DecoderSpec, held_out_columns: Mapping[str, Sequence[int]], inputs_zeroed: bool
    ) -> None:
        """`held_out_columns` by matrix name; `inputs_zeroed`: the dense part of a matrix gets zeros for them."""
        self._path, self._spec = path, spec
        self._columns, self._inputs_zeroed = held_out_columns, inputs_zeroed
        self._constants: dict[str, Any] = {}
        for part in packages(path):
            function = read_interface(part).functions[0].name
            self._constants |= load_plan(part, function, half=False).constants

    def matrix(self, name: str) -> np.ndarray:
        return decoded(self._path, name, self._spec.matrix_shape(name), lambda: self._matrix(name))

    def _matrix(self, name: str) -> np.ndarray:
        mil = mil_name(name)
        dense = self._read(mil)
        matrix = np.array(dense.reshape(dense.shape[:2]), np.float32)
        if columns := self._columns.get(name):
            kernel = self._read(mil + COREML.column_deltas).astype(np.float32)
            # (columns, rows) of a product, (rows, columns, 1, 1) of a convolution.
            deltas = kernel.reshape(kernel.shape[:2]) if kernel.ndim > 2 else kernel.T
            matrix[:, columns] = deltas if self._inputs_zeroed else matrix[:, columns] + deltas
        if mil + COREML.scalar_deltas in self._constants:
            suffixes = (COREML.scalar_rows, COREML.scalar_columns, COREML.scalar_deltas)
            rows, at, scalars = (self._read(mil + suffix).reshape(-1) for suffix in suffixes)
            matrix[rows, at] += scalars
        return matrix

    def _read(self, name: str) -> np.ndarray:
        if name not in self._constants:
            raise PackageError(f"the package has no '{name}': convert again.")
        values: np.ndarray = self._constants[name].numpy()
        return values
