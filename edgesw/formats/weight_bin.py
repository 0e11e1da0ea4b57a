"""The layout of Core ML's weight.bin, for the code that writes it and the code that reads it.

The file is a 64-byte header (number of blobs, version) and then blobs: 64 bytes of metadata each (sentinel, data type
code, bytes, offset of the data, padding bits), then the data, all aligned to 64 bytes. Elements narrower than a byte
are packed from the low bits up, without gaps between bytes.
"""

from __future__ import annotations

import struct

FILE = "weight.bin"
ALIGNMENT = 64
SENTINEL = 0xDEADBEEF
VERSION = 2
HEADER = struct.Struct("<II")
METADATA = struct.Struct("<IIQQQ")

# Data type codes, as in coremltools' MILBlob (mlmodel/src/MILBlob/Blob/BlobDataType.hpp). 5 is bfloat16, which no
# program has; there is no code for bool.
CODES = {
    "fp16": 1, "fp32": 2, "uint8": 3, "int8": 4, "int16": 6, "uint16": 7, "int4": 8, "uint1": 9, "uint2": 10,
    "uint4": 11, "uint3": 12, "uint6": 13, "int32": 14, "uint32": 15,
}  # fmt: skip


def bits_of(dtype: str) -> int:
    """The width of an element of one of CODES."""
    return {"fp16": 16, "fp32": 32}.get(dtype) or int(dtype.lstrip("uint"))
