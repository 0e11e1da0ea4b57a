"""Core ML's weight.bin, written blob by blob, and the exporter that makes a MIL program refer to it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from edgesw.emit.bits import pack_bits
from edgesw.errors import EdgeswError
from edgesw.formats.weight_bin import ALIGNMENT, CODES, FILE, HEADER, METADATA, SENTINEL, VERSION, bits_of


class WeightFile:
    """A weight.bin (see `edgesw.formats.weight_bin`) to which blobs are appended."""

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
                self._file.write(HEADER.pack(self._count, VERSION))
        finally:
            self._file.close()

    def write(self, values: np.ndarray, dtype: str) -> int:
        """Appends one blob and returns its offset, for a BlobFileValue.

        `dtype` is a key of CODES, else EdgeswError; for sub-byte types `values` are uint8 codes, packed low bits first.
        """
        if dtype not in CODES:
            raise EdgeswError(
                f"{FILE} cannot hold values of type '{dtype}': convert them to one of {', '.join(CODES)}."
            )
        width = bits_of(dtype)
        bits = values.size * width
        data = pack_bits(values, width) if width < 8 else np.ascontiguousarray(values).view(np.uint8)
        at = self._file.tell()
        at += self._file.write(bytes(-at % ALIGNMENT))
        size = -(-bits // 8)
        metadata = METADATA.pack(SENTINEL, CODES[dtype], size, at + ALIGNMENT, -bits % 8)
        self._file.write(metadata.ljust(ALIGNMENT, b"\0"))
        self._file.write(data.reshape(-1).data)
        self._count += 1
        return at


def to_spec(program: Any, offsets: dict[str, int], weights: WeightFile) -> Any:
    """The Core ML spec (proto) of a MIL program whose const op named N is at `offsets[N]` of the weight file.

    Consts without an offset that are too large for the spec itself are appended to the file, equal ones once: each
    function of a program has its own masks and tables.
    """
    from coremltools import target
    from coremltools.converters.mil.backend.mil import helper, load

    # coremltools has no native build for Linux on ARM. Without it the exporter does not start: it checks for a writer
    # that is not used here, as create_file_value below is the only place that would.
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
                name = str(var.val.dtype).replace("float", "fp")
                offset = offsets[var.op.name] = append(var.val, name)
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
