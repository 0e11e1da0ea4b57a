"""`inspect` on .mlpackages of edgesw and of others, compared with coremltools' reader and the weight file's size."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import edgesw

from edgesw.errors import UnreadableError
from edgesw.inspect.contents import REST, ModelContents
from edgesw.inspect.coreml import inspect_coreml
from edgesw.package.manifest import read_manifest
from edgesw.targets.inspection import inspect

logging.getLogger("coremltools").setLevel(logging.ERROR)
pytest.importorskip("coremltools.libmilstoragepython", reason="coremltools has no native build for this machine")

import coremltools as ct  # noqa: E402
import coremltools.optimize.coreml as shrink  # noqa: E402
from coremltools.converters.mil import Builder as mb  # noqa: E402
from coremltools.converters.mil.frontend.milproto.load import load  # noqa: E402

SHAPES = [(64, 128), (128, 64)]
ALIGNED = 64


def weight_file(package: Path) -> Path:
    return package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"


def two_products(target: Any, **settings: Any) -> Any:
    random = np.random.default_rng(0)
    first, second = (random.standard_normal(shape).astype(np.float32) for shape in SHAPES)

    @mb.program(input_specs=[mb.TensorSpec((1, 128))], opset_version=target)
    def program(x: Any) -> Any:
        y = mb.linear(x=x, weight=first, bias=np.ones(64, np.float32), name="first")
        return mb.relu(x=mb.linear(x=y, weight=second, name="second"), name="out")

    return ct.convert(
        program, convert_to="mlprogram", minimum_deployment_target=target, skip_model_load=True, **settings
    )


def palettes(model: Any, joint: bool = False, **settings: Any) -> Any:
    chosen = shrink.OpPalettizerConfig(mode="uniform", weight_threshold=0, **settings)
    return shrink.palettize_weights(model, shrink.OptimizationConfig(chosen), joint_compression=joint)


def integers(model: Any, joint: bool = False, **settings: Any) -> Any:
    chosen = shrink.OpLinearQuantizerConfig(weight_threshold=0, **settings)
    return shrink.linear_quantize_weights(model, shrink.OptimizationConfig(chosen), joint_compression=joint)


def sparse(model: Any) -> Any:
    chosen = shrink.OpMagnitudePrunerConfig(target_sparsity=0.75, weight_threshold=0)
    return shrink.prune_weights(model, shrink.OptimizationConfig(chosen))


def assert_whole(found: ModelContents, package: Path) -> None:
    """Checks that every byte on disk is counted once, and that the blobs, as the format has them, fill the file."""
    sizes = [path.stat().st_size for path in package.rglob("*") if path.is_file()]
    assert found.disk_bytes == sum(sizes) == sum(found.bytes_by_kind.values())
    blobs = {each.place: each.bytes for weight in found.weights for each in weight.pieces} | {
        each.place: each.bytes for each in found.others
    }
    laid_out = ALIGNED + sum(ALIGNED - size // -ALIGNED * ALIGNED for place, size in blobs.items() if place[0])
    assert 0 <= laid_out - weight_file(package).stat().st_size < ALIGNED, "the last blob is not filled up"


def decoded(package: Path) -> dict[str, tuple[int, ...]]:
    """The shape that coremltools infers for each compressed constant. It rewrites Manifest.json when it reads it."""
    spec = ct.utils.load_spec(str(package))
    functions = load(spec, spec.specificationVersion, str(weight_file(package).parent)).functions
    operations = next(iter(functions.values())).operations
    return {op.outputs[-1].name: op.outputs[-1].shape for op in operations if op.op_type.startswith("constexpr_")}


# --- edgesw's packages ----------------------------------------------------------------------------------------------


def test_matrices_have_the_shapes_that_coremltools_decodes(tiny_package: Path, tmp_path: Path) -> None:
    """These figures decide whether a model fits on a phone."""
    package = shutil.copytree(tiny_package / "model.mlpackage", tmp_path / "m.mlpackage")
    found = inspect_coreml(package)
    shapes = {each.name.replace(".", "_"): each.shape for each in found.compressed}
    assert shapes == decoded(package)
    assert {each.scheme for each in found.compressed if "." in each.name} == {"block 4 bits, blocks of 32, zero points"}
    down = next(each for each in found.weights if each.name == "layers.0.down_proj")
    assert down.bits == 4 + 16 / 32 + 4 / 32
    for name, columns in read_manifest(tiny_package).held_out_columns.items():
        assert next(each for each in found.weights if each.name == name).held_out_columns == len(columns)
    ports = {port.name: (port.kind, port.type, port.shape, port.optional) for port in found.ports}
    assert ports["inputIds"] == ("input", "int32", (1, "1..1024"), False)
    assert ports["causalMask"][3] and ports["keyCache"] == ("state", "float16", (2, 1, 2, 1056, 16), False)
    assert ports["logits"] == ("output", "float16", (1, "?", 320), False), "the description alone has no shape"
    assert found.operators["linear"] == 15 and found.versions == {
        "specification": "9",
        "from": "iOS 18",
        "opset": "CoreML8",
    }
    assert_whole(found, package)


def test_functions_and_chunks_are_counted_once(tiny_llama: Path, tmp_path: Path) -> None:
    """Two functions read the same weights: counted twice, they would make a package seem twice its size."""
    words = (
        "--compute",
        "ane",
        "--lengths",
        "1,8",
        "--chunks",
        2,
        "--calibrate",
        "none",
        "--hold-out-fraction",
        "1e-3",
    )
    ran = edgesw("convert", tiny_llama, "--target", "coreml", *words, "--calibrate", "none", "-o", tmp_path / "p")
    assert ran.code == 0, ran.err
    models = inspect(tmp_path / "p").models
    assert [found.path.name for found in models] == ["1-of-2.mlpackage", "2-of-2.mlpackage"]
    for layer, found in enumerate(models):
        names = [each.name for each in found.compressed]
        assert len(names) == len(set(names)) == 8 and f"layers.{layer}.down_proj" in names
        assert {each.name.replace(".", "_"): each.shape for each in found.compressed} == decoded(found.path)
        assert {port.function for port in found.ports} == {"decode", "prefill"}
        assert all(
            each.held_out_scalars == round(each.elements / 1000) for each in found.compressed if "." in each.name
        )
        assert_whole(found, found.path)
    head = next(each for each in models[1].weights if each.name == "embed_tokens")
    assert (head.shape, head.scheme) == ((320, 64, 1, 1), "palette 8 bits, groups of 16 rows")


def test_palettes_of_vectors_have_their_bits_per_weight(tiny_llama: Path, tmp_path: Path) -> None:
    words = ("--bits", 2, "--scheme", "palette", "--cluster-dim", 2, "--calibrate", "none", "--no-hold-out")
    assert (
        edgesw("convert", tiny_llama, "--target", "coreml", *words, "--calibrate", "none", "-o", tmp_path / "p").code
        == 0
    )
    found = inspect_coreml(tmp_path / "p" / "model.mlpackage")
    query = next(each for each in found.weights if each.name == "layers.0.q_proj")
    assert query.scheme == "palette 2 bits, vectors of 2, per tensor"
    assert query.shape == decoded(found.path)["layers_0_q_proj"] == (64, 64)
    assert query.stored_bytes == 64 * 64 * 2 // 8 + 2**4 * 2 * 2, "codes of 4 bits for two values, entries of two"


# --- packages of others -----------------------------------------------------------------------------------------------

iOS16, iOS18 = ct.target.iOS16, ct.target.iOS18
ENTRIES = 2**4 * 2  # bytes of a palette of 4 bits


@pytest.mark.parametrize(
    ("make", "scheme", "stored"),
    [
        (lambda: palettes(two_products(iOS16), nbits=4), "palette 4 bits, per tensor", 4096 + ENTRIES),
        (lambda: integers(two_products(iOS16), mode="linear"), "block 8 bits, whole rows, zero points", 8192 + 3 * 64),
        (lambda: sparse(two_products(iOS16)), "float16, sparse: 25.0%", None),
        (
            lambda: palettes(two_products(iOS18), nbits=3, granularity="per_grouped_channel", group_size=16),
            "palette 3 bits, groups of 16 rows",
            3072 + 4 * 2**3 * 2,
        ),
        (lambda: palettes(two_products(iOS18), nbits=6), "palette 6 bits, per tensor", 6144 + 2**6 * 2),
        (
            lambda: integers(
                two_products(iOS18), mode="linear", dtype="int4", granularity="per_block", block_size=32
            ),
            "block 4 bits, blocks of 32, zero points",
            4096 + 64 * 4 * 2 + 64 * 4 // 2,
        ),
        (
            lambda: integers(two_products(iOS18), mode="linear_symmetric", granularity="per_tensor"),
            "block 8 bits, per tensor",
            8192 + 2,
        ),
        (lambda: sparse(two_products(iOS18)), "float16, sparse: 25.0%", None),
        (
            lambda: palettes(sparse(two_products(iOS18)), joint=True, nbits=4),
            "palette 4 bits, per tensor, sparse: 25.0%",
            None,
        ),
        (lambda: integers(sparse(two_products(iOS18)), joint=True), "block 8 bits, whole rows, sparse: 25.0%", None),
        (
            lambda: integers(
                palettes(two_products(iOS18), nbits=4), joint=True, mode="linear_symmetric", granularity="per_tensor"
            ),
            "palette 4 bits, per tensor, entries of block 8 bits, per tensor",
            4096 + 16 + 2,
        ),
    ],
    ids=[
        "palette 16", "integers 16", "sparse 16", "groups", "6 bits", "blocks", "per tensor", "sparse",
        "sparse palette", "sparse integers", "palette of integers",
    ],
)  # fmt: skip
def test_what_coremltools_compresses_is_understood(
    make: Callable[[], Any], scheme: str, stored: int | None, tmp_path: Path
) -> None:
    """Packages are compared with those of Apple's own tools, which have two formats of compressed constants."""
    package = tmp_path / "m.mlpackage"
    make().save(str(package))
    found = inspect_coreml(package)
    first, second = found.compressed
    assert (first.shape, second.shape) == (*SHAPES,)
    assert {(each.name, each.shape) for each in found.compressed} <= set(decoded(package).items())
    assert first.scheme == scheme
    assert stored is None or first.stored_bytes == stored
    assert [each.scheme for each in found.weights if not each.compressed] == ["float16"] * 2, "the biases"
    assert_whole(found, package)


@pytest.mark.parametrize(
    ("precision", "scheme", "size"), [("FLOAT16", "float16", 16384), ("FLOAT32", "float32", 32768)]
)
def test_a_float_model_is_its_matrices(precision: str, scheme: str, size: int, tmp_path: Path) -> None:
    package = tmp_path / "m.mlpackage"
    two_products(ct.target.iOS15, compute_precision=getattr(ct.precision, precision)).save(str(package))
    found = inspect_coreml(package)
    matrices = [each for each in found.weights if len(each.shape) == 2]
    assert [each.shape for each in matrices] == SHAPES
    assert {(each.scheme, each.stored_bytes) for each in matrices} == {(scheme, size)}
    assert found.bits_per_weight is None and found.versions["from"] == "iOS 15"
    assert_whole(found, package)


def test_no_weight_is_read(tiny_package: Path, tmp_path: Path) -> None:
    """With holes in place of the values the result is the same: a 7B package takes seconds, not minutes."""
    package = tmp_path / "m.mlpackage"
    shutil.copytree(tiny_package / "model.mlpackage", package)
    found, whole = inspect_coreml(package), weight_file(package).read_bytes()
    places = {each.place[1]: each.bytes for weight in found.weights for each in weight.pieces if each.place[0]}
    emptied = bytearray(whole)
    for offset, size in places.items():
        start = int(offset) + ALIGNED
        emptied[start : start + size] = bytes(size)
    assert emptied != whole
    weight_file(package).write_bytes(emptied)
    assert inspect_coreml(package) == found and found.bytes_by_kind[REST] > 0


# --- damaged, or of another kind -------------------------------------------------------------------------------------


def test_a_neural_network_is_not_taken_for_a_program(tmp_path: Path) -> None:
    """Older Core ML models come in the same kind of folder; an empty table would look like a model without weights."""
    from coremltools.models import datatypes
    from coremltools.models.neural_network import NeuralNetworkBuilder

    builder = NeuralNetworkBuilder([("x", datatypes.Array(4))], [("y", datatypes.Array(2))])
    builder.add_inner_product("product", np.ones((2, 4)), None, 4, 2, False, "x", "y")
    ct.models.utils.save_spec(builder.spec, str(tmp_path / "network.mlpackage"))
    with pytest.raises(UnreadableError, match=r"not an ML program \(neuralNetwork\)") as error:
        inspect(tmp_path / "network.mlpackage")
    assert error.value.exit_code == 2 and "\n" not in str(error.value)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-ALIGNED])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda package: cut(weight_file(package)), "weight.bin: damaged or truncated"),
        (lambda package: weight_file(package).unlink(), "weight.bin: missing"),
        (lambda package: cut(package / "Data" / "com.apple.CoreML" / "model.mlmodel"), "not a Core ML model"),
        (lambda package: (package / "Manifest.json").write_text("{"), "it names no model"),
        (lambda package: (package / "Manifest.json").unlink(), "not an .mlpackage"),
    ],
)
def test_damage_is_one_line(damage: Callable[[Path], object], said: str, tiny_package: Path, tmp_path: Path) -> None:
    """Half a download must not look like a small model."""
    package = tmp_path / "m.mlpackage"
    shutil.copytree(tiny_package / "model.mlpackage", package)
    damage(package)
    with pytest.raises(UnreadableError, match=said) as error:
        inspect(package)
    assert error.value.exit_code == 2 and "\n" not in str(error.value)
