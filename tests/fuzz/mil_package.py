"""A small .mlpackage with every kind of stored weight that the interpreter decodes, and edits of its proto."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgesw.emit.mlpackage import make_folders, write_spec
from edgesw.emit.weight_file import WeightFile, to_spec
from edgesw.formats.weight_bin import FILE
from edgesw.system.log_filter import coremltools


def write_package(package: Path) -> None:
    """A state that is read, updated and written, and products with a palette, vectors, blocks and a sparse matrix."""
    coremltools()
    from coremltools import target
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import types

    random = np.random.default_rng(0)
    file, offsets = WeightFile(make_folders(package) / FILE), dict[str, int]()

    def codes(bits: int, *shape: int) -> Any:
        values = random.integers(0, 2**bits, shape).astype(np.uint8)
        name = f"codes_{len(offsets)}"
        offsets[name] = file.write(values, f"uint{bits}")
        return mb.const(val=values.astype(getattr(types, f"np_uint{bits}_dtype")), name=name)

    def floats(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float16)

    @mb.program(  # type: ignore[untyped-decorator]
        input_specs=[mb.TensorSpec((1, 8), dtype=types.fp16), mb.StateTensorSpec((4, 8), dtype=types.fp16)],
        opset_version=target.iOS18,
    )
    def program(x: Any, cache: Any) -> Any:
        old = mb.read_state(input=cache)
        new = mb.coreml_update_state(state=cache, value=mb.slice_update(x=old, update=x, begin=[0, 0], end=[1, 8]))
        stream = mb.add(x=x, y=mb.reduce_sum(x=new, axes=[0], keep_dims=True))
        for weight in (
            mb.constexpr_lut_to_dense(indices=codes(4, 8, 8), lut=floats(2, 1, 16, 1)),
            mb.constexpr_lut_to_dense(indices=codes(2, 4, 8), lut=floats(1, 1, 4, 2), vector_axis=np.int32(0)),
            mb.constexpr_blockwise_shift_scale(data=codes(4, 8, 8), scale=floats(8, 2), offset=codes(4, 8, 2)),
            mb.constexpr_sparse_to_dense(
                nonzero_data=floats(64), mask=mb.const(val=np.ones((8, 8), types.np_uint1_dtype), name="mask")
            ),
            floats(8, 8),
        ):
            stream = mb.matmul(x=stream, y=weight, transpose_y=True)
        return mb.identity(x=stream, name="y")

    offsets["mask"] = file.write(np.ones((8, 8), np.uint8), "uint1")
    with file:
        spec = to_spec(program, offsets, file)
    write_spec(package, spec)


def edit_proto(message: Any, where: int, action: str, number: int, text: str) -> None:
    """One edit of a proto, in place: of the `where`-th of its set fields, elements of lists and maps counted."""
    places = list(_places(message))
    if not places:
        return
    holder, field, key = places[where % len(places)]
    value = getattr(holder, field.name)
    if action == "clear":
        if key is None:
            holder.ClearField(field.name)
        else:
            del value[key]
    elif action == "repeat" and isinstance(key, int) and len(value) and not _is_map(field):
        value.extend([value[key]])
    elif field.message_type is not None:
        (value if key is None else value[key]).Clear()
    elif _is_map(field):
        return
    else:
        new = _as(field, number, text)
        if key is None:
            setattr(holder, field.name, new)
        else:
            value[key] = new


def _places(message: Any) -> Any:
    """(message, field, index or key or None) of everything that is set."""
    for field, value in message.ListFields():
        if _is_map(field):
            for key in value:
                yield message, field, key
                if field.message_type.fields_by_name["value"].message_type is not None:
                    yield from _places(value[key])
        elif field.is_repeated:
            if field.message_type is None:
                yield message, field, 0  # one of many numbers
                continue
            for index in range(len(value)):
                yield message, field, index
                yield from _places(value[index])
        else:
            yield message, field, None
            if field.message_type is not None:
                yield from _places(value)


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _as(field: Any, number: int, text: str) -> Any:
    """A value of the field's type."""
    kind = field.cpp_type
    if kind == field.CPPTYPE_STRING:
        return (
            number.to_bytes(8, "little") if field.type == field.TYPE_BYTES else text.encode("utf-8", "replace").decode()
        )
    if kind in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return float(number)
    if kind == field.CPPTYPE_BOOL:
        return bool(number % 2)
    bits = 32 if kind in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32, field.CPPTYPE_ENUM) else 64
    signed = kind in (field.CPPTYPE_INT32, field.CPPTYPE_INT64, field.CPPTYPE_ENUM)
    return int.from_bytes(number.to_bytes(16, "little")[: bits // 8], "little", signed=signed)
