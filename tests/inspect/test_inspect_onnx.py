"""`inspect` on ONNX models of edgesw and of others, compared with onnx's own reader and the files' sizes."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from tiny import edgesw

from edgesw.errors import UnreadableError
from edgesw.inspect.contents import ModelContents, Weight
from edgesw.inspect.onnx import inspect_onnx
from edgesw.package.manifest import read_manifest

ROWS, COLUMNS, WORDS = 128, 64, 100
# The suffixes of tensors that are quantized to bytes.
BYTES = ("quantized", "scale", "zero_point")


def float_model(path: Path) -> Path:
    """Two layers: an embedding and two products, with a matrix that the graph transposes."""
    random = np.random.default_rng(0)

    def values(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)

    nodes, weights, x = [helper.make_node("Gather", ["embed", "ids"], ["h"], "gather")], [], "h"
    weights.append(values("embed", WORDS, COLUMNS))
    for layer in range(2):
        up, down, bias = (f"layers.{layer}.{part}.weight" for part in ("up", "down", "bias"))
        weights += [values(up, COLUMNS, ROWS), values(down, COLUMNS, ROWS), values(bias, COLUMNS)]
        nodes += [
            helper.make_node("MatMul", [x, up], [f"u{layer}"], f"/layers.{layer}/up"),
            helper.make_node("Transpose", [down], [f"t{layer}"], f"t{layer}", perm=[1, 0]),
            helper.make_node("MatMul", [f"u{layer}", f"t{layer}"], [f"d{layer}"], f"/layers.{layer}/down"),
            helper.make_node("Add", [f"d{layer}", bias], [f"h{layer}"], f"add{layer}"),
        ]
        x = f"h{layer}"
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", 7])
    out = helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", 7, COLUMNS])
    graph = helper.make_graph(nodes, "two layers", [ids], [out], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


class Ids(CalibrationDataReader):
    def __init__(self) -> None:
        self._feeds: Iterator[dict[str, Any]] = iter([{"ids": np.arange(7)[None]}] * 2)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def by_name(found: ModelContents) -> dict[str, Weight]:
    assert len({weight.name for weight in found.weights}) == len(found.weights)
    return {weight.name: weight for weight in found.weights}


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Every initializer, as onnx reads it."""
    return {each.name: numpy_helper.to_array(each, str(path.parent)) for each in onnx.load(path).graph.initializer}


def held_bytes(tensor: TensorProto) -> int:
    """The stored bytes of a tensor, as onnx reads them, external data included."""
    return len(tensor.raw_data)


def assert_whole(found: ModelContents, files: list[Path]) -> None:
    """Checks that every byte of the files is counted once."""
    size = sum(file.stat().st_size for file in files)
    assert found.disk_bytes == size == sum(found.bytes_by_kind.values())
    assert all(count > 0 for count in found.bytes_by_kind.values())


# --- edgesw's models ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "scheme", "joined"),
    [
        ((), "block 4 bits, blocks of 32, zero points", "qkv_proj"),
        (("--portable",), "block 4 bits, blocks of 32, zero points", "gate_up_proj"),
        (("--activations", 8, "--calibrate", "default"), "block 8 bits, whole rows", "qkv_proj"),
        pytest.param(
            ("--activations", 8, "--calibrate", "default", "--ranges", "per-tensor"),
            "block 8 bits, whole rows",
            "qkv_proj",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("--activations", 8, "--calibrate", "default", "--ranges", "static"),
            "block 8 bits, whole rows",
            "qkv_proj",
            marks=pytest.mark.slow,
        ),
        (("--bits", 2), "block 2 bits, blocks of 32, zero points", "qkv_proj"),
    ],
)
def test_matrices_have_the_bytes_that_onnx_reads(
    options: tuple[object, ...], scheme: str, joined: str, tiny_llama: Path, tmp_path: Path
) -> None:
    """With wrong figures, users would choose models that do not fit on their phones."""
    words = ("convert", tiny_llama, "--target", "onnx", "--calibrate", "none", *options, "-o", tmp_path / "p")
    ran = edgesw(*words)
    assert ran.code == 0, ran.err
    path = tmp_path / "p" / "model.onnx"
    found, stored = inspect_onnx(path), onnx.load(path)
    weights = by_name(found)
    assert weights[f"layers.1.{joined}"].shape == {"qkv_proj": (128, 64), "gate_up_proj": (320, 64)}[joined]
    assert weights["layers.0.down_proj"].shape == (64, 160)
    assert {each.scheme for each in found.compressed if "." in each.name} == {scheme}
    assert weights["embed_tokens"].scheme == "block 8 bits, blocks of 32"
    for weight in found.compressed:
        parts = [f"{weight.name}.{part}" for part in ("codes", "scales_stored", "zero_points")]
        assert weight.stored_bytes == sum(held_bytes(each) for each in stored.graph.initializer if each.name in parts)
    for name, held_out in read_manifest(tmp_path / "p").held_out_columns.items():
        together = re.sub(r"[qkv]_proj$", "qkv_proj", re.sub(r"(gate|up)_proj$", "gate_up_proj", name))
        weight = weights.get(together) or weights[name]
        assert weight.held_out_columns == len(held_out)
    assert any(weight.held_out_columns for weight in found.weights), "the tiny model has a super weight"
    assert weights["norm"].scheme == "float32" and not weights["norm"].compressed
    assert_whole(found, [path, path.with_name("model.onnx.data")])


def test_a_tied_head_is_counted_once(tiny_package: Path) -> None:
    """Its bytes are stored once; counted twice, they would add an eighth to a small model."""
    found = inspect_onnx(tiny_package / "model.onnx")
    assert [each.name for each in found.weights if each.shape[0] == 320 and "embed" in each.name] == ["embed_tokens"]
    assert not [each.name for each in found.weights if "head" in each.name]
    assert found.operators["com.microsoft.MatMulNBits"] == 9 and found.versions["opset"] == "21"


def test_scalars_held_out_one_by_one_are_counted(tiny_llama: Path, tmp_path: Path) -> None:
    """They are gathers and scatters next to a product, and count in its bits per weight."""
    words = ("--hold-out-fraction", "1e-3", "--calibrate", "none")
    assert (
        edgesw("convert", tiny_llama, "--target", "onnx", *words, "--calibrate", "none", "-o", tmp_path / "p").code == 0
    )
    path = tmp_path / "p" / "model.onnx"
    for weight in inspect_onnx(path).compressed:
        beside = {n: each for n, each in arrays(path).items() if n.startswith(f"{weight.name}.")}
        scalars = [each for name, each in beside.items() if ".scalar_" in name]
        columns = [each for name, each in beside.items() if name.endswith((".correction_stored", ".spiking"))]
        assert weight.correction_bytes == sum(each.nbytes for each in scalars + columns)
        assert {each.size for each in scalars} == ({weight.held_out_scalars} if "." in weight.name else set())


# --- models of others -------------------------------------------------------------------------------------------------


def test_a_float_model_is_its_matrices(tmp_path: Path) -> None:
    """Rows are output channels whether the file has them first or last: otherwise exports could not be compared."""
    path = float_model(tmp_path / "float.onnx")
    found = inspect_onnx(path)
    weights = by_name(found)
    assert weights["layers.0.up.weight"].shape == (ROWS, COLUMNS), "a product's right operand has outputs last"
    assert weights["layers.1.down.weight"].shape == (COLUMNS, ROWS), "turned in the graph"
    assert weights["embed"].shape == (WORDS, COLUMNS)
    assert {each.scheme for each in found.weights} == {"float32"} and found.bits_per_weight is None
    assert {name: each.stored_bytes for name, each in weights.items()} == {n: a.nbytes for n, a in arrays(path).items()}
    assert [(port.kind, port.type, port.shape) for port in found.ports] == [
        ("input", "int64", ("batch", 7)),
        ("output", "float32", ("batch", 7, COLUMNS)),
    ]
    assert_whole(found, [path])


def dynamic(path: Path, by_row: bool) -> Path:
    out = path.with_name("quantized.onnx")
    quantize_dynamic(path, out, weight_type=QuantType.QInt8, per_channel=by_row)
    return out


def static(path: Path, form: QuantFormat) -> Path:
    out = path.with_name("quantized.onnx")
    quantize_static(path, out, Ids(), quant_format=form, per_channel=True, weight_type=QuantType.QInt8)
    return out


def blocks(path: Path, form: QuantFormat) -> Path:
    out = path.with_name("quantized.onnx")
    quantizer = MatMulNBitsQuantizer(
        onnx.load(path),
        bits=4,
        block_size=32,
        is_symmetric=False,
        quant_format=form,
        op_types_to_quantize=("MatMul", "Gather") if form is QuantFormat.QOperator else ("MatMul",),
        quant_axes=(("MatMul", 0), ("Gather", 1)),
    )
    quantizer.process()
    quantizer.model.save_model_to_file(str(out), use_external_data_format=True)
    return out


@pytest.mark.parametrize(
    ("make", "scheme", "ends"),
    [
        (lambda path: dynamic(path, False), "block 8 bits, per tensor, zero points", BYTES),
        (lambda path: dynamic(path, True), "block 8 bits, whole rows, zero points", BYTES),
        (lambda path: static(path, QuantFormat.QDQ), "block 8 bits, whole rows, zero points", BYTES),
        (lambda path: static(path, QuantFormat.QOperator), "block 8 bits, whole rows, zero points", BYTES),
        (
            lambda path: blocks(path, QuantFormat.QDQ),
            "block 4 bits, blocks of 32, zero points",
            ("DQ_Q4", "DQ_scales", "DQ_zero_points"),
        ),
        (
            lambda path: blocks(path, QuantFormat.QOperator),
            "block 4 bits, blocks of 32, zero points",
            ("Q4", "scales", "zero_points"),
        ),
    ],
    ids=["dynamic", "dynamic by row", "QDQ", "QOperator", "4 bits QDQ", "MatMulNBits"],
)
def test_what_onnxruntime_quantizes_is_understood(
    make: Callable[[Path], Path], scheme: str, ends: tuple[str, ...], tmp_path: Path
) -> None:
    """Packages are compared with other people's models, which are made with these tools."""
    path = make(float_model(tmp_path / "float.onnx"))
    found = inspect_onnx(path)
    stored = {each.name: held_bytes(each) for each in onnx.load(path).graph.initializer}
    # A few scales are written as numbers, not as bytes.
    few = {each.name: np.asarray(numpy_helper.to_array(each)).nbytes for each in onnx.load(path).graph.initializer}
    weights = by_name(found)
    for layer in range(2):
        weight = next(each for name, each in weights.items() if name.startswith(f"layers.{layer}.up.weight_"))
        assert (weight.shape, weight.scheme, weight.compressed) == ((ROWS, COLUMNS), scheme, True)
        names = [next(name for name in stored if name.startswith(f"layers.{layer}.up.weight_{end}")) for end in ends]
        assert weight.stored_bytes == sum(stored[name] or few[name] for name in names)
    assert weights["layers.0.down.weight"].scheme == "float32", "turned in the graph, so it stays as it is"
    assert_whole(found, list(tmp_path.glob("quantized.onnx*")))


def test_an_embedding_of_blocks_has_its_own_shape(tmp_path: Path) -> None:
    """Its codes share bytes or have a type of their own: with rows of half the length it would be another matrix."""
    found = inspect_onnx(blocks(float_model(tmp_path / "float.onnx"), QuantFormat.QOperator))
    (weight,) = (each for each in found.weights if each.name.startswith("embed"))
    assert (weight.shape, weight.scheme) == ((WORDS, COLUMNS), "block 4 bits, blocks of 32, zero points")
    assert weight.bits == 4 + 32 / 32 + 4 / 32


def test_weights_inside_branches_are_found(tmp_path: Path) -> None:
    """Merged decoders have one branch with a cache and one without, in an If."""
    weight = numpy_helper.from_array(np.ones((8, 4), np.float32), "in_branch")
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("MatMul", ["x", "in_branch"], ["y"])], "b", [], [out], [weight])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])
    c = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    onnx.save(helper.make_model(helper.make_graph([node], "g", [x, c], [out])), tmp_path / "m.onnx")
    found = inspect_onnx(tmp_path / "m.onnx")
    assert [(each.name, each.shape) for each in found.weights] == [("in_branch", (4, 8))]
    assert found.operators == {"MatMul": 2, "If": 1}


def test_a_model_of_gigabytes_is_inspected_at_once(tmp_path: Path) -> None:
    """Headers have the sizes: reading 8 GB instead would take a minute and too much memory."""
    size = 1 << 33
    tensor = TensorProto(
        name="w", dims=(1 << 15, 1 << 17), data_type=TensorProto.FLOAT16, data_location=TensorProto.EXTERNAL
    )
    for key, value in (("location", "w.data"), ("offset", 0), ("length", size)):
        tensor.external_data.add(key=key, value=str(value))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT16, None) for name in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [tensor])
    (tmp_path / "big.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    with (tmp_path / "w.data").open("wb") as file:
        file.truncate(size)  # a hole, which takes no room on the disk
    tracemalloc.start()
    try:
        found = inspect_onnx(tmp_path / "big.onnx")
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()
    assert [(each.shape, each.stored_bytes) for each in found.weights] == [((1 << 17, 1 << 15), size)]


# --- damaged ---------------------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: cut(folder / "model.onnx"), "damaged or not an ONNX model"),
        (lambda folder: (folder / "model.onnx").write_bytes(b""), "it has no graph"),
        (lambda folder: (folder / "model.onnx").write_text("not a model"), "damaged or not an ONNX model"),
        (lambda folder: cut(folder / "model.onnx.data"), "model.onnx.data is cut short"),
        (lambda folder: (folder / "model.onnx.data").unlink(), "model.onnx.data is missing"),
    ],
)
def test_damage_is_one_line(damage: Callable[[Path], object], said: str, tiny_package: Path, tmp_path: Path) -> None:
    for name in ("model.onnx", "model.onnx.data"):
        (tmp_path / name).write_bytes((tiny_package / name).read_bytes())
    damage(tmp_path)
    with pytest.raises(UnreadableError, match=said) as error:
        inspect_onnx(tmp_path / "model.onnx")
    assert error.value.exit_code == 2 and "\n" not in str(error.value)


def test_a_model_cannot_point_out_of_its_folder(tiny_package: Path, tmp_path: Path) -> None:
    """A download that names /etc/passwd as its weights must not make edgesw read it."""
    for place in ("../secret", "/etc/passwd"):
        model = onnx.load(tiny_package / "model.onnx", load_external_data=False)
        for entry in model.graph.initializer[0].external_data:
            if entry.key == "location":
                entry.value = place
        (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(UnreadableError, match="outside the model's folder"):
            inspect_onnx(tmp_path / "model.onnx")


def test_flipped_bytes_never_end_in_a_traceback(tiny_package: Path, tmp_path: Path) -> None:
    """A file may be damaged anywhere: the result is one of edgesw's errors, or another valid model."""
    whole, random = (tiny_package / "model.onnx").read_bytes(), np.random.default_rng(0)
    (tmp_path / "model.onnx.data").write_bytes((tiny_package / "model.onnx.data").read_bytes())
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] = random.integers(256)
        (tmp_path / "model.onnx").write_bytes(damaged)
        try:
            inspect_onnx(tmp_path / "model.onnx").to_dict()
        except UnreadableError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 50
