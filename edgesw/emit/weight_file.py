"""Core ML's weight.bin, written blob by blob, and the exporter that makes a MIL program refer to it."""

from __future__ import annotations

import struct
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from edgesw.emit.bits import pack_bits
from edgesw.errors import EdgeswError

# Data type codes of the blob format, as in coremltools' MILBlob (mlmodel/src/MILBlob/Blob/BlobDataType.hpp).
CODES = {
    "fp16": 1, "fp32": 2, "uint8": 3, "int8": 4, "bool": 5, "int16": 6, "uint16": 7, "int4": 8, "uint1": 9,
    "uint2": 10, "uint4": 11, "uint3": 12, "uint6": 13, "int32": 14, "uint32": 15,
}  # fmt: skip
ALIGNMENT = 64
SENTINEL = 0xDEADBEEF
VERSION = 2
FILE = "weight.bin"


class WeightFile:
    """Appends blobs to a weight.bin: a 64-byte header, then per blob 64 bytes of metadata and its data, all aligned."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._count = 0
        self._file.write(bytes(ALIGNMENT))

    def __enter__(self) -> WeightFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._file.seek(0)
                self._file.write(struct.pack("<II", self._count, VERSION))
        finally:
            self._file.close()

    def write(self, values: np.ndarray, dtype: str) -> int:
        """Append one blob and return its offset, to be used in a BlobFileValue.

        `dtype` is a key of CODES; for sub-byte types `values` are uint8 codes, packed low bits first.
        """
        bits = values.size * _bits(dtype)
        data = pack_bits(values, _bits(dtype)) if _bits(dtype) < 8 else np.ascontiguousarray(values).view(np.uint8)
        at = self._file.tell()
        at += self._file.write(bytes(-at % ALIGNMENT))
        size = -(-bits // 8)
        self._file.write(struct.pack("<IIQQQ32x", SENTINEL, CODES[dtype], size, at + ALIGNMENT, -bits % 8))
        self._file.write(data.reshape(-1).data)
        self._count += 1
        return at


def _bits(dtype: str) -> int:
    return {"fp16": 16, "fp32": 32, "bool": 8}.get(dtype) or int(dtype.lstrip("uint"))


def to_spec(program: Any, offsets: dict[str, int], weights: WeightFile) -> Any:
    """The Core ML spec (proto) of a MIL program whose const op named N lies at `offsets[N]` of the weight file.

    Consts without an offset that are too large for the spec itself are appended to the file, equal ones once: functions
    of a program each have their own masks and tables.
    """
    from coremltools import target
    from coremltools.converters.mil.backend.mil import helper, load

    # coremltools has no native build for Linux on ARM. Without it the exporter refuses to start for want of a writer
    # that it will not use: create_file_value below is the only place that would.
    load.BlobWriter = load.BlobWriter or WeightFile

    appended: dict[tuple[str, bytes], int] = {}

    def append(values: np.ndarray, dtype: str) -> int:
        key = dtype, values.tobytes()
        if key not in appended:
            appended[key] = weights.write(values, dtype)
        return appended[key]

    class Exporter(load.MILProtoExporter):  # type: ignore[misc]
        def create_file_value(self, var: Any) -> Any:
            dtype = helper.types_to_proto_primitive(var.sym_type.get_primitive())
            offset = offsets.get(var.op.name)
            if offset is None:
                names = {"float16": "fp16", "float32": "fp32"}
                if (name := str(var.val.dtype)) not in names and name not in CODES:
                    raise EdgeswError(f"Core ML constant '{var.op.name}' has a dtype we do not write: {name}.")
                offset = offsets[var.op.name] = append(var.val, names.get(name, name))
            return helper.create_file_value_tensor(f"@model_path/weights/{FILE}", offset, var.val.shape, dtype)

    version = target.iOS18.value
    program.skip_all_passes = True
    mil = Exporter(prog=program, weights_dir="", specification_version=version).export()
    return load.CoreMLProtoExporter(
        program,
        mil,
        None,
        None,
        None,
        convert_to="mlprogram",
        convert_from="milinternal",
        specification_version=version,
    ).export(version)
