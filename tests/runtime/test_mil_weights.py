"""The weights of a package, as the interpreter decodes them and as coremltools decompresses them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types
from mil_build import reload, save, weight_file

from edgesw.errors import EdgeswError, PackageError, UnsupportedError
from edgesw.runtime.mil import MilProgram
from edgesw.runtime.mil_plan import load_plan
from edgesw.runtime.mil_weights import DTYPES, unpack

RNG = np.random.default_rng(3)
F16, F32 = np.float16, np.float32
UNSIGNED = {
    1: types.np_uint1_dtype, 2: types.np_uint2_dtype, 3: types.np_uint3_dtype, 4: types.np_uint4_dtype,
    6: types.np_uint6_dtype, 8: np.uint8,
}  # fmt: skip


def codes(bits: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, 2**bits, shape).astype(UNSIGNED[bits])


def values(*shape: int, dtype: Any = F16) -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def palettes(bits: int, shape: tuple[int, ...], groups: tuple[int, ...], size: int = 1, axis: int | None = None) -> Any:
    vector = {} if axis is None else {"vector_axis": np.int32(axis)}
    indices, lut = codes(bits, *shape), values(*groups, 2**bits, size)
    return lambda name: mb.constexpr_lut_to_dense(indices=indices, lut=lut, name=name, **vector)


def blocks(dtype: Any, shape: tuple[int, ...], scales: tuple[int, ...], scale: Any = F16, offset: str = "") -> Any:
    low, high = {"int4": (-8, 8), "uint4": (0, 16), "int8": (-128, 128), "uint8": (0, 256)}[dtype]
    stored = {"int4": types.np_int4_dtype, "uint4": types.np_uint4_dtype}.get(dtype, dtype)
    params: dict[str, Any] = {"data": RNG.integers(low, high, shape).astype(stored)}
    params["scale"] = values(*scales, dtype=scale)
    if offset == "same":
        params["offset"] = RNG.integers(low, high, scales).astype(stored)
    elif offset:
        params["offset"] = RNG.integers(-9, 9, scales).astype(offset)
    return lambda name: mb.constexpr_blockwise_shift_scale(name=name, **params)


def sparse(dtype: Any) -> Any:
    mask = (RNG.random((6, 11)) < 0.3).astype(types.np_uint1_dtype)
    data = RNG.integers(-5, 5, int(np.count_nonzero(mask))).astype(dtype)
    return lambda name: mb.constexpr_sparse_to_dense(nonzero_data=data, mask=mask, name=name)


def scaled_palette(name: str) -> Any:
    """Integer palette, then a scale for each row: coremltools decompresses only each half of it by itself."""
    return mb.constexpr_blockwise_shift_scale(
        data=mb.constexpr_lut_to_dense(indices=NESTED_CODES, lut=NESTED_LUT), scale=NESTED_SCALE, name=name
    )


NESTED_CODES, NESTED_LUT = codes(4, 6, 8), RNG.integers(-128, 128, (1, 1, 16, 1)).astype(np.int8)
NESTED_SCALE = values(6, 1)
CASES: dict[str, Any] = {f"per_tensor_{bits}": palettes(bits, (5, 7), (1, 1)) for bits in UNSIGNED}
CASES |= {f"per_rows_{bits}": palettes(bits, (12, 7), (3, 1)) for bits in UNSIGNED}
CASES |= {
    "per_columns": palettes(4, (6, 12), (1, 4)),
    "per_row_and_column": palettes(3, (6, 12), (2, 3)),
    "per_channel_of_conv": palettes(2, (4, 6, 1, 1), (4, 1, 1, 1)),
    "rank_three": palettes(6, (4, 6, 10), (2, 1, 5)),
    "vector_0": palettes(4, (4, 6), (1, 1), 2, 0),
    "vector_1": palettes(2, (4, 6), (1, 1), 4, 1),
    "vector_last": palettes(6, (4, 6), (1, 1), 3, -1),
    "vector_0_grouped_0": palettes(3, (4, 6), (2, 1), 2, 0),
    "vector_1_grouped_0": palettes(3, (4, 6), (2, 1), 2, 1),
    "vector_0_grouped_1": palettes(4, (4, 6), (1, 3), 2, 0),
    "vector_1_grouped_both": palettes(4, (4, 6), (2, 3), 2, 1),
    "int4_rows": blocks("int4", (6, 8), (6, 1)),
    "int4_blocks": blocks("int4", (6, 8), (6, 2)),
    "int4_blocks_both": blocks("int4", (6, 8), (3, 4)),
    "int4_offset": blocks("int4", (6, 8), (6, 2), offset="same"),
    "uint4_offset": blocks("uint4", (5, 9), (5, 3), offset="same"),
    "uint4_no_offset": blocks("uint4", (5, 9), (1, 1)),
    "uint4_float_offset": blocks("uint4", (5, 9), (5, 3), offset="float16"),
    "int8_rows": blocks("int8", (6, 8), (6, 1)),
    "int8_float32": blocks("int8", (6, 8), (6, 2), scale=F32, offset="float32"),
    "uint8_offset": blocks("uint8", (6, 8), (2, 1), offset="same"),
    "int8_conv": blocks("int8", (4, 6, 1, 1), (4, 3, 1, 1)),
    "sparse_float16": sparse(F16),
    "sparse_float32": sparse(F32),
    "nested": scaled_palette,
    "tiny_palette_3": palettes(3, (3, 3), (1, 1)),  # under ten elements: in the program, not in weight.bin
    "tiny_palette_4": palettes(4, (3, 3), (3, 1)),
    "tiny_int4": blocks("int4", (1, 7), (1, 1)),
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def body(x: Any) -> list[Any]:
        outputs = [mb.gather(x=build(name), indices=np.int32(0), axis=0) for name, build in CASES.items()]
        return [mb.cast(x=output, dtype="fp32", name=f"row_{n}") for n, output in enumerate(outputs)] + [x]

    path = tmp_path_factory.mktemp("weights") / "weights.mlpackage"
    return save(path, [mb.TensorSpec((1,), dtype=types.fp32)], body)


@pytest.fixture(scope="module")
def reference(package: Path) -> dict[str, np.ndarray]:
    dense: dict[str, Any] = {}
    for op in reload(package).operations:
        if op.op_type.startswith("constexpr"):
            dense[op.name] = op.materialized_val_inference() if op.name != "nested" else None
    dense["nested"] = NESTED_LUT.reshape(-1)[np.asarray(NESTED_CODES, int)].astype(F16) * NESTED_SCALE
    return dense


@pytest.mark.parametrize("case", CASES)
def test_decoded_weights_are_those_coremltools_decompresses(
    case: str, package: Path, reference: dict[str, np.ndarray]
) -> None:
    """Any difference means the validated model is not the model in the file."""
    decoded = load_plan(package, "main", half=True).constants[case].value
    assert isinstance(decoded, torch.Tensor)
    assert decoded.dtype == torch.float32
    assert decoded.shape == reference[case].shape
    assert np.array_equal(decoded.numpy(), reference[case].astype(F32))


def test_gather_on_compressed_weights(package: Path, reference: dict[str, np.ndarray]) -> None:
    """An embedding is a gather on a palette: its rows must be the decoded rows, in their declared dtype."""
    outputs = MilProgram(package).predict({"v0": np.zeros(1, F32)})
    for number, case in enumerate(CASES):
        assert np.array_equal(outputs[f"row_{number}"], reference[case][0].astype(F32)), case


def test_float32_does_not_round_computed_weights(package: Path) -> None:
    """float32 is the reference for float16: there a product of scale and code is not rounded."""
    exact = load_plan(package, "main", half=False).constants["nested"].value
    product = NESTED_LUT.reshape(-1)[np.asarray(NESTED_CODES, int)].astype(F32) * NESTED_SCALE.astype(F32)
    assert np.array_equal(np.asarray(exact), product)
    assert not np.array_equal(product, product.astype(F16).astype(F32))


@pytest.mark.parametrize("count", [1, 7, 8, 9, 21, 64, 1001])
@pytest.mark.parametrize("number", [n for n, d in DTYPES.items() if d.bits < 8])
def test_unpacking_any_length(number: int, count: int) -> None:
    """A length that does not fill its last byte must not lose or invent elements."""
    dtype = DTYPES[number]
    low = -(1 << dtype.bits - 1) if dtype.name.startswith("i") else 0
    wanted = RNG.integers(low, low + (1 << dtype.bits), count)
    bits = (wanted[:, None] >> np.arange(dtype.bits) & 1).astype(np.uint8)
    packed = np.packbits(bits.reshape(-1), bitorder="little")
    assert unpack(packed, dtype, count).tolist() == wanted.tolist()


def test_plain_constants_of_every_dtype(tmp_path: Path) -> None:
    """Immediate (under ten elements) and file values are stored in different ways; both must come back."""
    arrays = [
        RNG.integers(0, 100, size).astype(dtype) if dtype != np.bool_ else RNG.random(size) < 0.5
        for dtype in (np.float16, np.float32, np.int32, np.int16, np.uint16, np.int8, np.uint8, np.bool_)
        for size in (3, 40)
    ]

    def body(x: Any) -> list[Any]:
        return [mb.cast(x=mb.const(val=a), dtype="fp32", name=f"c{n}") for n, a in enumerate(arrays)] + [x]

    path = save(tmp_path / "consts.mlpackage", [mb.TensorSpec((1,), dtype=types.fp32)], body)
    outputs = MilProgram(path).predict({"v0": np.zeros(1, F32)})
    for number, array in enumerate(arrays):
        assert np.array_equal(outputs[f"c{number}"], array.astype(F32)), array.dtype


def test_a_tied_matrix_is_decoded_once(tmp_path: Path) -> None:
    """Embedding and head are often the same matrix, the largest of the model: two float32 copies would not fit."""
    matrix, shared = codes(4, 32, 16), values(1, 1, 16, 1)

    def body(i: Any) -> Any:
        indices, lut = mb.const(val=matrix, name="m"), mb.const(val=shared, name="l")
        one, two = (mb.constexpr_lut_to_dense(indices=indices, lut=lut, name=n) for n in ("one", "two"))
        return mb.linear(x=mb.gather(x=one, indices=i, axis=0), weight=two)

    path = save(tmp_path / "tied.mlpackage", [mb.TensorSpec((2,), dtype=types.int32)], body)
    plan = load_plan(path, "main", half=True)
    assert plan.constants["one"].value is plan.constants["two"].value


def damaged(package: Path, folder: Path, change: Any) -> EdgeswError:
    """The error from loading a copy of the package after `change` was made to the bytes of its weight file."""
    import shutil

    copy = shutil.copytree(package, folder / "copy.mlpackage")
    content = bytearray(weight_file(package).read_bytes())
    weight_file(copy).write_bytes(change(content) or content)
    with pytest.raises(EdgeswError) as caught:
        MilProgram(copy)
    assert "\n" not in str(caught.value)
    assert "weight.bin" in str(caught.value)
    return caught.value


def poke(offset: int, layout: str, value: int) -> Any:
    return lambda content: struct.pack_into(layout, content, offset, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1], "damaged or truncated"),
        (lambda content: content[: len(content) // 2], "damaged or truncated"),
        (lambda content: content[:70], "damaged or truncated"),
        (lambda content: content[:10], "too short"),
        (poke(64, "<I", 0xDEADBEEE), "sentinel is 0xdeadbeee"),
        (poke(68, "<I", 77), "dtype code is 77"),
        (poke(72, "<Q", 1 << 40), "it holds 1099511627776 bytes"),
        (poke(80, "<Q", 1 << 63), "its data ends"),
        (poke(80, "<Q", 65), "its data ends"),
        (poke(4, "<I", 1), "version 2"),
    ],
)
def test_damage_is_one_clear_error(package: Path, tmp_path: Path, change: Any, message: str) -> None:
    """A half-copied package must say so at once, not crash, and not give numbers from the wrong place."""
    error = damaged(package, tmp_path, change)
    assert isinstance(error, PackageError)
    assert message in str(error)


def test_a_missing_weight_file_is_named(package: Path, tmp_path: Path) -> None:
    """Copying a package without its weights folder is an easy mistake; the error must name the file."""
    import shutil

    copy = shutil.copytree(package, tmp_path / "copy.mlpackage")
    weight_file(copy).unlink()
    with pytest.raises(PackageError, match=r"weight\.bin: missing"):
        MilProgram(copy)


def test_other_constexpr_ops_are_refused(tmp_path: Path) -> None:
    """Joint sparse and palettised weights are not decoded here: say so before anything runs."""
    mask = np.ones((4, 4)).astype(types.np_uint1_dtype)

    def body(x: Any) -> Any:
        mask_out, data = mb.constexpr_lut_to_sparse(
            indices_mask=mask, indices_nonzero_data=codes(1, 16), lut=values(1, 1, 2, 1)
        )
        return mb.linear(x=x, weight=mb.constexpr_sparse_to_dense(nonzero_data=data, mask=mask_out))

    path = save(tmp_path / "joint.mlpackage", [mb.TensorSpec((1, 4), dtype=types.fp16)], body)
    with pytest.raises(UnsupportedError, match="constexpr_lut_to_sparse"):
        MilProgram(path)
