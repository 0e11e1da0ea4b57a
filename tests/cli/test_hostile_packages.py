"""Packages of any origin, and whole commands on them: one line and exit code 1 or 2, in bounded time and memory."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from tiny import Ran, assert_one_line, edgesw, unchanged

import edgesw as library
from edgesw.runtime.onnx import said

ROOT = Path(library.__file__).parents[1]
MEMORY, SECONDS = 6 << 30, 60


def limited(*words: object) -> Ran:
    """A command line in a process of its own, with limits on memory and time."""
    ran = subprocess.run(
        [sys.executable, "-c", "from edgesw.cli import main; main()", *map(os.fsencode, map(str, words))],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=SECONDS,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )  # fmt: skip
    return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture
def package(tiny_package: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_package, tmp_path / "package"))


def rewrite(package: Path, change: Callable[[dict[str, Any]], object] = lambda _: None) -> None:
    """Brings the manifest up to date with the files, and changes it."""
    path = package / "manifest.json"
    values = json.loads(path.read_text())
    for name in values["files"]:
        content = (package / name).read_bytes()
        values["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    change(values)
    path.write_text(json.dumps(values))


COREML = "models.coreml"
MANIFESTS: dict[str, tuple[str, Any]] = {
    "no bits": ("settings.bits", None),
    "both bits and size": ("settings.size", 10**6),
    "text for bits": ("settings.bits", "4"),
    "bits without end": ("settings.bits", 10**400),
    "negative context": ("settings.context", -1),
    "context of a book too many": ("settings.context", 2**31),
    "no version of edgesw": ("versions", {}),
    "no layers": ("decoder.layers", 0),
    "layers without end": ("decoder.layers", 10**9),
    "one layer more": ("decoder.layers", 3),
    "no heads": ("decoder.heads", 0),
    "heads that do not divide": ("decoder.kv_heads", 3),
    "a rotary that is not there": ("decoder.layer_rotary", [0, 7]),
    "frequencies of another head": ("decoder.head_dim", 32),
    "a super weight outside": ("super_weights", [{"layer": 0, "row": 10**9, "column": 0, "value": 1.0}]),
    "a super weight in no layer": ("super_weights", [{"layer": -1, "row": 0, "column": 0, "value": 1.0}]),
    "a super weight without a value": ("super_weights", [{"layer": 0}]),
    "a column outside": ("held_out_columns", {"layers.0.down_proj": [10**9]}),
    "a column of no matrix": ("held_out_columns", {"layers.0.none": [0]}),
    "a matrix of no layer": ("models.onnx.matrices", {"block 4 bits": ["layers.9.q_proj"]}),
    "stored bits in words": ("models.onnx.stored_bits", "x"),
    "options of another type": ("models.onnx.options", {"portable": "no"}),
    "options in excess": ("models.onnx.options", {"portable": False, "<b>": 1}),
    "units that are none": ("models.coreml.options", {"compute": "tpu", "lengths": [], "chunks": 1, "ablation": False}),
    "chunks in words": ("models.coreml.options", {"compute": "gpu", "lengths": [], "chunks": "x", "ablation": False}),
    "a checksum that is none": ("files.README\\.md", {"sha256": "x", "bytes": 10}),
    "a name that is not Unicode": ("source.name", "\ud800"),
    "a negative correction": ("correction_bytes", -1),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_with_a_wrong_value_is_one_line(case: str, package: Path, tiny_llama: Path, tmp_path: Path) -> None:
    """Each was once a traceback in some command, after the work that came before it."""
    place, value = MANIFESTS[case]

    def change(values: dict[str, Any]) -> None:
        *outer, last = place.replace("\\.", "\0").split(".")
        for key in outer:
            values = values[key]
        values[last.replace("\0", ".")] = value

    rewrite(package, change)
    words = ("--against", tiny_llama, "--windows", 1)
    with unchanged(package):
        assert_one_line(edgesw("report", package, *words, "-o", tmp_path / "r.html"), 1, "manifest.json", "damaged")
        assert_one_line(edgesw("compare", package, *words), 1, "manifest.json", "damaged")


def test_another_format_is_told_as_it_stands_in_the_file(package: Path) -> None:
    """`format 5 is not the one this version reads (5)`, of a text, told nobody what is wrong."""
    rewrite(package, lambda values: values.update(format=str(values["format"])))
    assert_one_line(edgesw("verify", package), 1, 'format "', '" is not the one')


def model(package: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    path = package / "model.onnx"
    made = onnx.load(path, load_external_data=False)
    change(made)
    path.write_bytes(made.SerializeToString())
    rewrite(package)
    return path


def endless_shape(made: onnx.ModelProto) -> None:
    made.graph.initializer.append(TensorProto(name="w", data_type=1, dims=[2**62] * 100_000))


def endless_input(made: onnx.ModelProto) -> None:
    made.graph.input[0].type.tensor_type.shape.dim.extend([onnx.TensorShapeProto.Dimension(dim_value=2**62)] * 100_000)


def same_results(made: onnx.ModelProto) -> None:
    made.graph.node.extend([helper.make_node("DequantizeLinear", ["w", "s"], ["y"])] * 20_000)
    made.graph.node.extend([helper.make_node("Add", ["y", "y"], ["z"])] * 20_000)
    made.graph.initializer.append(helper.make_tensor("w", TensorProto.INT8, [2, 2], b"1234", raw=True))
    made.graph.initializer.append(helper.make_tensor("s", TensorProto.FLOAT, [2], [1.0, 1.0]))


def long_name(made: onnx.ModelProto) -> None:
    entry = next(each for each in made.graph.initializer if each.external_data)
    entry.external_data[0].value = "a" * 5000


@pytest.mark.parametrize("words", [(), pytest.param(("--json",), marks=pytest.mark.slow)])
@pytest.mark.parametrize("change", [endless_shape, endless_input, long_name])
def test_inspect_refuses_what_no_file_can_hold(
    change: Callable[[onnx.ModelProto], None], words: tuple[str, ...], package: Path
) -> None:
    """A product of 100,000 numbers of 62 bits was computed for hours."""
    path = model(package, change)
    ran = limited("inspect", package if words else path, *words)
    assert_one_line(ran, 2, "model.onnx" if change is not long_name else "is missing")


def test_inspect_looks_at_a_value_of_many_makers_once(package: Path) -> None:
    """20,000 nodes with the same result, and 20,000 that read it, were looked at in pairs."""
    assert limited("inspect", model(package, same_results)).code in (0, 2)


def test_a_name_that_is_not_text_is_damage(package: Path) -> None:
    """protobuf gives bytes for it, which are no key of JSON."""
    path = package / "model.onnx"
    path.write_bytes(path.read_bytes().replace(b"MatMulN", b"Mat\xff\xfelN", 1))
    rewrite(package)
    for words in ((), ("--json",)):
        assert_one_line(edgesw("inspect", path, *words), 2, "model.onnx", "is not text")


def renamed(made: onnx.ModelProto) -> None:
    """Codes under another name: the model runs, its matrix is not found."""
    old = "layers.0.down_proj.codes"
    for tensor in made.graph.initializer:
        tensor.name = old + "2" if tensor.name == old else tensor.name
    for node in made.graph.node:
        node.input[:] = [old + "2" if name == old else name for name in node.input]


def spare(name: str, kind: int, shape: list[int], values: list[Any]) -> Callable[[onnx.ModelProto], None]:
    """An initializer that onnxruntime passes over, as no node reads it, under a name that has a meaning for us."""
    return lambda made: made.graph.initializer.append(
        helper.make_tensor(f"layers.0.gate_proj{name}", kind, shape, values)
    )


@pytest.mark.parametrize(
    "change",
    [
        renamed,
        spare(".spiking", TensorProto.INT64, [1], [10**9]),
        spare(".scalar_rows", TensorProto.INT64, [1], [10**9]),
        spare(".zero_points", TensorProto.UINT8, [1], [1]),
        spare(".codes", TensorProto.UINT8, [1], [1]),
        lambda made: made.graph.initializer.append(
            TensorProto(name="layers.0.gate_proj.zero_points", data_type=TensorProto.UINT8, dims=[9, 9], raw_data=b"x")
        ),
    ],
)
def test_details_refuse_what_onnxruntime_passes_over(
    change: Callable[[onnx.ModelProto], object], package: Path, tiny_llama: Path
) -> None:
    """Tables of errors were made of whatever was decoded, or a traceback."""
    model(package, change)
    words = ("--against", tiny_llama, "--target", "onnx", "--windows", 1, "--tokens", 16, "--details")
    ran = edgesw("validate", package, *words)
    assert ran.code in (0, 1, 3)
    if ran.code == 1:
        assert_one_line(ran, 1)


def mil(package: Path, change: Callable[[Any], object]) -> Path:
    import coremltools

    path = package / "model.mlpackage" / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = coremltools.proto.Model_pb2.Model()
    spec.ParseFromString(path.read_bytes())
    change(spec)
    path.write_bytes(spec.SerializeToString())
    rewrite(package)
    return package / "model.mlpackage"


def block(spec: Any) -> Any:
    (function,) = spec.mlProgram.functions.values()
    return function.block_specializations[function.opset]


def no_outputs(spec: Any) -> None:
    del block(spec).operations[0].outputs[:]


def no_logits(spec: Any) -> None:
    (out,) = block(spec).outputs
    for op in block(spec).operations:
        for made in op.outputs:
            made.name = "other" if made.name == out else made.name
    block(spec).outputs[:] = ["other"]
    spec.description.output[0].name = "other"


def endless_state(spec: Any) -> None:
    (function,) = spec.mlProgram.functions.values()
    for entry in function.inputs:
        if entry.type.WhichOneof("type") == "stateType":
            entry.type.stateType.wrappedType.tensorType.dimensions[0].constant.size = 2**40


def endless_axes(spec: Any) -> None:
    op = next(op for op in block(spec).operations if op.type == "const")
    kind = op.attributes["val"].type.tensorType
    for _ in range(100_000):
        kind.dimensions.add().constant.size = 2**62


def units(spec: Any) -> None:
    spec.description.metadata.userDefined["edgesw.compute"] = "tpu"


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML itself reads them there")
@pytest.mark.parametrize(
    "change",
    [
        no_outputs,
        *(pytest.param(each, marks=pytest.mark.slow) for each in (no_logits, endless_state, endless_axes, units)),
    ],
)
def test_a_core_ml_program_that_lacks_a_part_is_one_line(change: Callable[[Any], None], package: Path) -> None:
    """Its shapes, states and outputs are numbers and names in a file of any origin."""
    mil(package, change)
    ran = limited("generate", package, "The", "--target", "coreml", "--max-tokens", 2)
    assert (ran.code, ran.out) in ((1, ""), (1, "The")) and ran.err.count("\n") == 1, ran
    assert ran.err.startswith("Error: ") and "should not" not in ran.err
    seen = limited("inspect", package / "model.mlpackage")
    assert seen.code in (0, 2) and "Traceback" not in seen.err and "should not" not in seen.err


def test_an_array_of_an_unknown_type_is_shown_by_its_number(package: Path) -> None:
    """A newer coremltools may know more types than ours."""
    path = package / "model.mlpackage" / "Data" / "com.apple.CoreML" / "model.mlmodel"
    content = path.read_bytes()
    at = content.index(b"logits") + len("logits")
    kind = content.index(b"\x10\x90\x80\x04", at)  # field 2, dataType: 65552, float16
    path.write_bytes(content[: kind + 1] + b"\xff\x80\x04" + content[kind + 4 :])
    assert "type 65663" in edgesw("inspect", package / "model.mlpackage").out


@pytest.mark.parametrize(
    "name",
    ["[red]x[/red] $b$_{^", "x\x1b[31m 模型", *(pytest.param(n, marks=pytest.mark.slow) for n in ("[/bold]", "a\nb"))],
)
def test_a_name_is_no_markup(name: str, tiny_package: Path, tiny_llama: Path, tmp_path: Path) -> None:
    """Names come from other people: on a terminal one was taken for a colour, in a plot for a formula."""
    package, checkpoint = tmp_path / name, tmp_path / f"model {name}"
    for link in (package, checkpoint):
        link.parent.mkdir(parents=True, exist_ok=True)
    package.symlink_to(tiny_package)
    checkpoint.symlink_to(tiny_llama)
    for words in (
        ("inspect", package),
        ("compare", package, "--against", tiny_llama, "--no-speed", "--windows", 1, "--plot", tmp_path / "p.png"),
        ("detect", checkpoint, "--fast", "--plot", tmp_path / "p.svg"),
    ):
        ran = edgesw(*words)
        assert ran.code == 0, ran.err
        assert "\x1b" not in ran.out + ran.err
        assert name in ran.out or not name.isprintable()


@pytest.mark.parametrize("chat", [(), ("--chat",)])
def test_a_prompt_that_is_not_utf8_is_refused(chat: tuple[str, ...], tiny_package: Path) -> None:
    """A terminal in another encoding passes such bytes on."""
    assert_one_line(edgesw("generate", tiny_package, "caf\udce9", *chat), 2, "the prompt is not UTF-8 at character 4")


def test_an_error_of_onnxruntime_has_no_signature_in_it(package: Path) -> None:
    """`void onnxruntime::Graph::InitializeStateFromModelFileGraphProto()` means nothing to a user."""
    path = model(package, lambda made: made.graph.output.append(helper.make_tensor_value_info("no", 1, [1])))
    ran = edgesw("generate", package, "The", "--target", "onnx")
    assert_one_line(ran, 1, str(path), "no")
    assert "::" not in ran.err and ".cc" not in ran.err
    words = (
        "Load failed. Error: tensorprotoutils.cc:461 ValidateExternalDataPathFromDir External data path is not there"
    )
    assert said(RuntimeError(words)) == "Load failed. Error:  External data path is not there"
    words = "[ONNXRuntimeError] : 1 : FAIL : Load model from m.onnx failed:/o/core/graph/model.cc:181 "
    words += "onnxruntime::Model::Model(onnx::ModelProto&&, const PathString&, std::vector<int>*(*)(int)) Missing IR."
    assert said(RuntimeError(words)) == "Load model from m.onnx failed: Missing IR"


def test_a_cache_that_no_memory_holds_is_refused(package: Path) -> None:
    """Its sizes are numbers in a file of any origin."""

    def endless(made: onnx.ModelProto) -> None:
        for given in made.graph.input:
            if given.name.startswith("past_key_values."):
                for axis in (1, 3):
                    given.type.tensor_type.shape.dim[axis].dim_value = 2**45

    path = model(package, endless)
    ran = edgesw("generate", package, "The", "--target", "onnx")
    assert_one_line(ran, 1, f"{path}: 'past_key_values.", "is not a cache of an edgesw package")


@pytest.mark.parametrize(
    "repo", ["name", "a b/c", "a/b/c", "-a/b", "a/b.", "a/b--c", "a/b..c", "a/b.git", "a/" + "b" * 95]
)
def test_a_dry_run_refuses_a_repository_that_the_hub_would_refuse(repo: str, tiny_package: Path) -> None:
    """A rehearsal that passes what the performance does not is none."""
    assert_one_line(edgesw("push", "--dry-run", "--", tiny_package, repo), 2, "is not a valid repo id")


def test_a_mistyped_folder_is_called_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`models/tinny` looks like the name of somebody's model on the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    ran = edgesw("detect", "models/tinny")
    assert_one_line(ran, 1, "Nor is there a folder 'models/tinny'. Did you mean 'models/tiny'?")


@pytest.mark.parametrize(
    "words",
    [("--size", "9" * 400 + "GB"), ("--lengths", "9" * 5000), ("--chunks", "9" * 5000), ("--size", "10KB")],
    ids=["size", "lengths", "chunks", "small"],
)
def test_an_amount_beyond_all_is_one_line(words: tuple[str, str], tiny_llama: Path, tmp_path: Path) -> None:
    """Python reads no number of 5,000 digits, and 10 kB are not 0.0 MB."""
    ran = edgesw("convert", tiny_llama, "--target", "coreml", "--calibrate", "none", "-o", tmp_path / "p", *words)
    assert ran.code == 2 and ran.err.count("\n") == 1 and "should not" not in ran.err and "0.0 MB" not in ran.err
