"""The constants of a MIL program as stored: immediate values and `weight.bin`, which is memory-mapped.

A blob's metadata is checked against the file and against the program before a byte of its data is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgesw.errors import PackageError, UnsupportedError
from edgesw.files.header_bounds import bounded_shape
from edgesw.formats.weight_bin import ALIGNMENT, CODES, HEADER, METADATA, SENTINEL, VERSION, bits_of

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class DType:
    """A MIL data type.

    `array` is the numpy type of its values (sub-byte types widen to 8 bits) and `storage` the torch type the
    interpreter computes with. uint16 computes as int32 because torch has no arithmetic for it; float16 computes as
    float32 and is rounded, see `edgesw.runtime.mil`.
    """

    name: str
    array: type[np.generic]
    storage: torch.dtype

    @property
    def code(self) -> int | None:
        """Its number in `weight.bin`; None for a type that is never stored there."""
        return CODES.get(self.name)

    @property
    def bits(self) -> int:
        return 8 if self.name == "bool" else bits_of(self.name)

    @property
    def is_float(self) -> bool:
        return self.storage.is_floating_point


STRING = 2
"""`DataType.STRING` in MIL.proto."""

DTYPES: dict[int, DType] = {  # by the number of the `DataType` enum in MIL.proto
    1: DType("bool", np.bool_, torch.bool),
    10: DType("fp16", np.float16, torch.float32),
    11: DType("fp32", np.float32, torch.float32),
    21: DType("int8", np.int8, torch.int8),
    22: DType("int16", np.int16, torch.int16),
    23: DType("int32", np.int32, torch.int32),
    25: DType("int4", np.int8, torch.int8),
    31: DType("uint8", np.uint8, torch.uint8),
    32: DType("uint16", np.uint16, torch.int32),
    35: DType("uint4", np.uint8, torch.uint8),
    36: DType("uint2", np.uint8, torch.uint8),
    37: DType("uint1", np.uint8, torch.uint8),
    38: DType("uint6", np.uint8, torch.uint8),
    39: DType("uint3", np.uint8, torch.uint8),
}


def unpack(packed: Array, dtype: DType, count: int) -> Array:
    """The `count` elements held in `packed` (uint8 bytes); a view where nothing has to be unpacked."""
    if dtype.bits >= 8:
        return packed.view(dtype.array)
    group = 3 if dtype.bits in (3, 6) else 1  # bytes after which elements and bytes line up again
    if packed.size % group:
        packed = np.concatenate([packed, np.zeros(group - packed.size % group, np.uint8)])
    word = packed
    if group == 3:
        word = packed[0::3] | packed[1::3].astype(np.uint32) << 8 | packed[2::3].astype(np.uint32) << 16
    per_word = group * 8 // dtype.bits
    elements = np.empty(word.size * per_word, np.uint8)
    for position in range(per_word):
        elements[position::per_word] = word >> (position * dtype.bits) & ((1 << dtype.bits) - 1)
    elements = elements[:count]
    if dtype.array is np.int8:
        sign = 1 << (dtype.bits - 1)
        elements = ((elements ^ sign) - np.uint8(sign)).view(np.int8)
    return elements


class WeightFile:
    """A memory-mapped `weight.bin`. Raises PackageError if it is missing or not a blob file of version 2."""

    def __init__(self, path: Path) -> None:
        self.path = path
        size = path.stat().st_size if path.is_file() else 0
        if size < ALIGNMENT:
            raise PackageError(f"{path}: missing or too short to be a weight file.")
        # Copy-on-write, so that the array counts as writable: torch shares memory only with such. Nothing writes to it.
        self.bytes: Array = np.memmap(path, np.uint8, "c")
        _, version = HEADER.unpack_from(self.bytes.data)
        if version != VERSION:
            raise PackageError(f"{path}: not a weight file of version {VERSION} (says {version}).")

    def blob(self, offset: int, dtype: DType, count: int) -> Array:
        """The packed bytes, uint8 (ceil(count * bits / 8),), of the blob whose metadata starts at `offset` bytes."""
        size = self.bytes.size
        if offset % ALIGNMENT or offset < ALIGNMENT or offset + ALIGNMENT > size:
            raise self._damaged(offset, f"the file has {size} bytes")
        sentinel, code, length, start, _ = METADATA.unpack_from(self.bytes.data, offset)
        if sentinel != SENTINEL:
            raise self._damaged(offset, f"its sentinel is 0x{sentinel:08x}")
        if code != dtype.code:
            raise self._damaged(offset, f"its dtype code is {code} where the program wants {dtype.name} ({dtype.code})")
        expected = (count * dtype.bits + 7) // 8
        if length != expected:
            raise self._damaged(offset, f"it holds {length} bytes where the program wants {expected}")
        if start % ALIGNMENT or start < offset + ALIGNMENT or start + length > size:
            raise self._damaged(offset, f"its data ends at byte {start + length} of a file of {size}")
        return self.bytes[start : start + length]

    def _damaged(self, offset: int, why: str) -> PackageError:
        return PackageError(f"{self.path}: damaged or truncated at blob {offset}: {why}.")


@dataclass(frozen=True, eq=False)
class Constant:
    """A constant tensor or string. `packed` is either the stored bytes or the list of an immediate value."""

    dtype: DType | None  # None: a string
    shape: Shape
    packed: Array | Sequence[Any]

    def numpy(self) -> Array:
        """The elements, widened to whole bytes, in `shape`; not cached."""
        assert self.dtype is not None
        if isinstance(self.packed, np.ndarray):
            return unpack(self.packed, self.dtype, math.prod(self.shape)).reshape(self.shape)
        return np.array(self.packed, self.dtype.array).reshape(self.shape)

    @cached_property
    def value(self) -> torch.Tensor | str:
        """The value that ops receive; decoded when it is first used, then cached."""
        if self.dtype is None:
            return str(self.packed[0])
        array = self.numpy()
        if self.dtype.array is np.uint16:
            array = array.astype(np.int32)
        # A copy, so that the cached value neither holds nor depends on the mapped file.
        return torch.from_numpy(array).to(self.dtype.storage, copy=True)


def read_constant(proto_value: Any, weights: Callable[[str], WeightFile], where: str) -> Constant:
    """The `Constant` of a `MIL.proto` Value; `weights` opens the file that a BlobFileValue names.

    UnsupportedError for an unknown dtype or kind of value, PackageError when sizes do not match.
    """
    if proto_value.type.WhichOneof("type") != "tensorType":
        raise UnsupportedError(f"{where}: a constant of kind '{proto_value.type.WhichOneof('type')}' is not supported.")
    tensor_type = proto_value.type.tensorType
    try:
        shape, count = bounded_shape((d.constant.size for d in tensor_type.dimensions), where)
    except ValueError as error:
        raise PackageError(f"damaged: {error}.") from error
    if tensor_type.dataType == STRING:
        strings = list(proto_value.immediateValue.tensor.strings.values)
        if shape or len(strings) != 1:
            raise UnsupportedError(f"{where}: a list of strings is not supported.")
        return Constant(None, (), strings)
    dtype = known_dtype(tensor_type.dataType, where)
    if proto_value.WhichOneof("value") == "blobFileValue":
        blob = proto_value.blobFileValue
        return Constant(dtype, shape, weights(blob.fileName).blob(blob.offset, dtype, count))
    immediate = proto_value.immediateValue.tensor
    kind = immediate.WhichOneof("value")
    packed: Array | list[Any] = []
    if kind == "bytes":
        packed = np.frombuffer(bytearray(immediate.bytes.values), np.uint8)
        held, wanted = packed.size, (count * dtype.bits + 7) // 8
    elif kind is None:
        held, wanted = 0, count
    else:
        packed = list(getattr(immediate, kind).values)
        held, wanted = len(packed), count
    if held != wanted:
        raise PackageError(f"{where}: the constant holds {held} {kind}, its type wants {wanted}.")
    return Constant(dtype, shape, packed)


def known_dtype(number: int, where: str) -> DType:
    """The DType with this number in MIL.proto, or UnsupportedError naming it."""
    if number not in DTYPES:
        from coremltools import proto

        names = {v: k for k, v in proto.MIL_pb2.DataType.items()}
        raise UnsupportedError(f"{where}: the dtype {names.get(number, number)} is not supported.")
    return DTYPES[number]
