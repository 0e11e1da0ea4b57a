"""The constants of an ONNX model as their headers describe them. External data is not read."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from onnx import AttributeProto, NodeProto, TensorProto

from edgesw.errors import UnreadableError
from edgesw.files.header_bounds import bounded_shape
from edgesw.inspect.contents import Place, Tensor

LONGEST_PATH = 500
# Types whose names do not contain their width, or are not numpy's.
_NAMES = {"float": "float32", "double": "float64"}
_BITS = {"bool": 8, "string": 0, "undefined": 0}


def type_name(number: int) -> str:
    """numpy's name for a TensorProto.DataType."""
    known = TensorProto.DataType.values()
    name = str(TensorProto.DataType.Name(number)).lower() if number in known else f"type {number}"
    return _NAMES.get(name, name)


def as_text(name: object) -> str:
    """The name as it is. ValueError where it is not text: protobuf gives bytes for what is not UTF-8."""
    if not isinstance(name, str):
        raise ValueError(f"the name {name!r} is not text")
    return name


class Tensors:
    """Reads headers of one model's tensors, and records which files hold their data."""

    def __init__(self, model: Path) -> None:
        self._model = model
        self.files: dict[str, int] = {}
        """Bytes of each file with external data."""

    def read(self, tensor: TensorProto, name: str = "") -> Tensor:
        """The header of a tensor. UnreadableError where its data is missing or does not fit its type and shape."""
        name = as_text(name or tensor.name)
        kind = type_name(tensor.data_type)
        try:
            shape, count = bounded_shape(tensor.dims, name)
        except ValueError as error:
            raise UnreadableError(f"{self._model}: damaged: {error}. Get or write it again.") from error
        width = re.search(r"\d+", kind)
        bits = _BITS.get(kind, int(width.group()) if width else 0)
        wanted = (count * bits + 7) // 8
        place: Place = ("", name)
        if tensor.data_location == TensorProto.EXTERNAL:
            place, size = self._external(tensor, name, wanted)
        else:
            # Values that are not raw may take fewer bytes, or more, which count as the program's.
            size = len(tensor.raw_data) or min(wanted, tensor.ByteSize())
            if tensor.raw_data and size != wanted:
                raise self._wrong(name, size, wanted)
        return Tensor(name, kind, bits, shape, place, size)

    def constant(self, node: NodeProto) -> Tensor | None:
        """The header of a Constant node's value, if it is a tensor."""
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                return self.read(attribute.t, node.output[0])
        return None

    def _external(self, tensor: TensorProto, name: str, wanted: int) -> tuple[Place, int]:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        parts = PurePosixPath(location)
        if not location or parts.is_absolute() or ".." in parts.parts:
            raise UnreadableError(
                f"{self._model}: '{name}' has its data at '{location}', outside the model's folder. Take another file."
            )
        try:
            offset, size = int(entries.get("offset") or 0), int(entries.get("length") or wanted)
        except ValueError as error:
            raise UnreadableError(f"{self._model}: damaged at '{name}': {error}. Get or write it again.") from error
        path = self._model.parent / location
        if location not in self.files:
            try:
                there = path.is_file()
            except OSError:  # not a valid file name
                there = False
            if not there:
                raise UnreadableError(
                    f"{str(path)[:LONGEST_PATH]} is missing, which holds weights of {self._model.name}: put it there."
                )
            self.files[location] = path.stat().st_size
        if offset < 0 or offset + size > self.files[location]:
            raise UnreadableError(
                f"{path} is cut short: '{name}' ends at byte {offset + size}, the file has {self.files[location]}. "
                "Get or write it again."
            )
        if size != wanted:
            raise self._wrong(name, size, wanted)
        return (location, offset), size

    def _wrong(self, name: str, size: int, wanted: int) -> UnreadableError:
        return UnreadableError(
            f"{self._model}: damaged: '{name}' has {size} bytes where its type and shape want {wanted}. "
            "Get or write it again."
        )
