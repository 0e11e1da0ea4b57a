"""ONNX external data, written tensor by tensor to a file next to the graph."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import onnx

# Runtimes map the file page by page. A tensor smaller than a page would waste most of one.
PAGE, LINE = 4096, 64


class ExternalData:
    """A file to which tensors are appended, and the initializers that refer to it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._name = path.name
        self._written: dict[str, tuple[int, int]] = {}  # initializer -> (offset, bytes)
        self._small: set[str] = set()
        self.initializers: list[onnx.TensorProto] = []

    def __enter__(self) -> ExternalData:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write_packed(self, name: str, packed: np.ndarray, kind: int, shape: tuple[int, ...]) -> str:
        """As `write`, for `shape` values of an ONNX type that numpy does not have, whose bytes are `packed`."""
        self._append(name, packed)
        self._add(name, kind, shape, self._written[name])
        return name

    def write(self, name: str, values: np.ndarray) -> str:
        """Appends `values`, adds the initializer `name` and returns it. A name is written once."""
        if name not in self._written:
            self._append(name, values)
            self._add(name, onnx.helper.np_dtype_to_tensor_dtype(values.dtype), values.shape, self._written[name])
        return name

    def alias(self, name: str, of: str, dtype: np.dtype, shape: tuple[int, ...]) -> str:
        """Adds the initializer `name` over the bytes of the initializer `of`, in another shape."""
        self._add(name, onnx.helper.np_dtype_to_tensor_dtype(dtype), shape, self._written[of])
        return name

    def small(self, name: str, values: np.ndarray) -> str:
        """Adds the initializer `name` inside the graph itself, where shape inference reads it; a name once."""
        if name not in self._small:
            self._small.add(name)
            self.initializers.append(onnx.numpy_helper.from_array(values, name))
        return name

    def _append(self, name: str, values: np.ndarray) -> None:
        data = np.ascontiguousarray(values)
        at = self._file.tell()
        at += self._file.write(bytes(-at % (PAGE if data.nbytes >= PAGE else LINE)))
        self._file.write(data.reshape(-1).view(np.uint8).data)
        self._written[name] = (at, data.nbytes)

    def _add(self, name: str, kind: int, shape: tuple[int, ...], place: tuple[int, int]) -> None:
        tensor = onnx.TensorProto(name=name, data_type=kind, dims=shape, data_location=onnx.TensorProto.EXTERNAL)
        for key, value in (("location", self._name), ("offset", place[0]), ("length", place[1])):
            tensor.external_data.add(key=key, value=str(value))
        self.initializers.append(tensor)
