"""The pipeline from checkpoint to package: what is forecast is what comes out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest
from safetensors.numpy import load_file, save_file
from tiny import CONTEXT, SUPER_WEIGHT, edgesw, unchanged

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.conversion.convert import convert
from edgesw.conversion.settings import Settings
from edgesw.package.manifest import read_manifest


def dry_run(model: object, *more: str) -> dict[str, Any]:
    ran = edgesw("convert", model, "--target", "coreml", "--target", "onnx", "--dry-run", "--json", *more)
    assert ran.code == 0 and ran.err == ""
    return json.loads(ran.out)


def test_a_dry_run_writes_nothing(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked what would be done, nothing is done: not even where the output would go."""
    monkeypatch.chdir(tmp_path)
    with unchanged(tmp_path), unchanged(tiny_llama):
        for output in ([], ["-o", str(tmp_path / "a" / "b")]):
            dry_run(tiny_llama, *output)


def test_a_dry_run_tells_what_each_kind_of_matrix_becomes(tiny_llama: Path) -> None:
    """Two layers: each kind of matrix twice, and the embedding, which is the head too, once."""
    plan = dry_run(tiny_llama)
    assert (plan["model"], plan["context"]) == (str(tiny_llama), CONTEXT)
    assert plan["memory_bytes"] > 100e6, "the libraries alone take more"
    for target in ("coreml", "onnx"):
        rows = {row["matrices"]: row for row in plan["targets"][target]}
        layers = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
        assert rows.keys() == layers | {"embed_tokens"}
        assert all(rows[kind]["count"] == 2 for kind in layers)
        assert all(rows[kind]["scheme"] == "block 4 bits, blocks of 32, zero points" for kind in layers)
        assert rows["embed_tokens"] == rows["embed_tokens"] | {"count": 1, "scheme": "block 8 bits, blocks of 32"}
    codes, scales, zero_points = 64 * 160 // 2, 64 * 5 * 2, 64 * 5 // 2
    (down,) = (row for row in plan["targets"]["coreml"] if row["matrices"] == "down_proj")
    assert down["stored_bytes"] == 2 * (codes + scales + zero_points)
    table = edgesw("convert", tiny_llama, "--target", "coreml", "--target", "onnx", "--dry-run").out
    for words in ("for coreml", "for onnx", "down_proj", "embed_tokens", "blocks of 32", "Peak memory: about"):
        assert words in table


def test_the_forecast_of_the_weights_is_what_is_written(tiny_llama: Path, tiny_package: Path) -> None:
    """Room on the disk, and on the phone, is planned by it."""
    model = onnx.load(tiny_package / "model.onnx", load_external_data=False)
    written = 0
    for tensor in model.graph.initializer:
        if tensor.name.endswith((".codes", ".scales_stored", ".zero_points")):
            written += sum(int(entry.value) for entry in tensor.external_data if entry.key == "length")
    forecast = sum(row["stored_bytes"] for row in dry_run(tiny_llama)["targets"]["onnx"])
    assert forecast == pytest.approx(written, rel=0.002), "a row's zero points fill whole bytes; that is all"


@dataclass(frozen=True)
class RealRun:
    """A conversion of SmolLM2-135M in a process of its own, and its forecast."""

    plan: dict[str, Any]
    package: Path
    files: dict[str, Any]
    peak_bytes: int


@pytest.fixture(
    scope="module",
    params=[pytest.param("none", marks=pytest.mark.slow), pytest.param("default", marks=pytest.mark.nightly)],
    ids=["not compensated", "compensated"],
)
def real_run(request: pytest.FixtureRequest, make_once: Callable[..., Path]) -> RealRun:
    """A process between: a child starts as a copy of its parent, and the kernel counts that in the child's peak."""
    options = ["--calibrate", request.param]

    def make(folder: Path) -> None:
        folder.mkdir()
        words = ["convert", "smollm2-135m", "--target", "coreml", "--target", "onnx", *options]
        words += ["-o", str(folder / "package"), "--json"]
        command = [sys.executable, "-c", f"from edgesw.cli import main; main({words})"]
        between = (
            f"import resource, subprocess; subprocess.run({command}, check=True, stdout=open('said.json', 'w'))\n"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
        )
        done = subprocess.run([sys.executable, "-c", between], capture_output=True, text=True, check=True, cwd=folder)
        assert done.stderr == ""
        (folder / "peak").write_text(done.stdout)

    folder = make_once(f"real-{request.param}", make)
    files = json.loads((folder / "said.json").read_text())["files"]
    return RealRun(dry_run("smollm2-135m", *options), folder / "package", files, int((folder / "peak").read_text()))


def test_the_forecast_of_a_real_model_holds_within_five_percent(real_run: RealRun) -> None:
    plan = real_run.plan
    size = sum(path.stat().st_size for path in real_run.package.rglob("*") if path.is_file())
    assert plan["output_bytes"] == pytest.approx(size, rel=0.05)
    for target, file in {"coreml": "model.mlpackage", "onnx": "model.onnx"}.items():
        written = sum(entry["bytes"] for name, entry in real_run.files.items() if name.startswith(file))
        assert sum(row["stored_bytes"] for row in plan["targets"][target]) == pytest.approx(written, rel=0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="measured in Linux's kilobytes")
def test_the_forecast_of_memory_holds_within_a_quarter(real_run: RealRun) -> None:
    """Too low, and a laptop kills the conversion halfway; too high, and nobody tries."""
    assert real_run.plan["memory_bytes"] == pytest.approx(real_run.peak_bytes, rel=0.25)


@pytest.mark.parametrize(
    "hold_out",
    [pytest.param([], id="held out"), pytest.param(["--no-hold-out"], id="not held out", marks=pytest.mark.slow)],
)
def test_a_super_activation_beyond_float16_survives(hold_out: list[str], tiny_llama: Path, tmp_path: Path) -> None:
    """Core ML computes in float16, which ends at 65,504: past it, everything that follows is infinite or no number.

    How large the residual stream grows is seen while calibrating, so also where nothing is held out.
    """
    model = Path(shutil.copytree(tiny_llama, tmp_path / "model"))
    tensors = load_file(model / "model.safetensors")
    layer, row, column = SUPER_WEIGHT
    tensors[f"model.layers.{layer}.mlp.down_proj.weight"][row, column] *= 100
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    (activation,) = json.loads(edgesw("detect", model, "--json").out)["super_activations"]
    assert activation["magnitude"] > 2 * 65504, "it would fit, so this tests nothing"
    assert edgesw("convert", model, "--target", "coreml", "--bits", "8", "-o", tmp_path / "x", *hold_out).code == 0
    (tmp_path / "text.txt").write_text("All Apples Are A Kind of fruit. " * 20)  # "A" is what fires the super weight
    options = ["--text", tmp_path / "text.txt", "--windows", 1, "--tokens", 128, "--json"]
    ran = edgesw("validate", tmp_path / "x", "--against", model, *options)
    assert ran.code == 0, ran
    assert json.loads(ran.out)["targets"]["coreml"]["kl_divergence"] < 0.05


def test_what_convert_says_can_be_followed(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next command, copied from the screen, must work: also with a space in a name."""
    import shlex

    model = Path(shutil.copytree(tiny_llama, tmp_path / "My Model"))
    monkeypatch.chdir(tmp_path)
    ran = edgesw("convert", model.name, "--target", "onnx", "--target", "onnx", "--bits", "8")
    assert ran.code == 0 and ran.err == ""
    first, last = ran.out.splitlines()
    assert first.startswith("My Model-8bit/model.onnx  ") and first.endswith("block 8 bits, blocks of 32")
    assert re.match(r"Held out: \(0, 17, 101\), \d+ whole columns?\. Next: edgesw ", last)
    words = shlex.split(last.partition("Next: edgesw ")[2])
    assert edgesw(*words, "--windows", 1, "--tokens", 16).code in (0, 3)


def test_json_says_where_the_package_is_and_what_is_in_it(tiny_llama: Path, tmp_path: Path) -> None:
    ran = edgesw("convert", tiny_llama, "--target", "onnx", "-o", tmp_path / "x", "--context", "64", "--json")
    assert ran.code == 0 and ran.err == ""
    told = json.loads(ran.out)
    assert told["package"] == str(tmp_path / "x")
    manifest = read_manifest(Path(told["package"]))
    assert told["files"] == {name: asdict(entry) for name, entry in manifest.files.items()}
    assert told["super_weights"] == [asdict(weight) for weight in manifest.super_weights]
    assert told["held_out_columns"] == manifest.held_out_columns
    assert told["correction_bytes"] == manifest.correction_bytes > 0
    assert Path(told["manifest"]).read_text() == manifest.to_json()
    assert manifest.context == 64


@pytest.mark.parametrize("name", [".", "../Tiny", "Tiny/"])
def test_the_folders_own_name_is_used_however_it_is_called(
    name: str, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`edgesw convert .` once wrote into a folder called `-4bit`, which no command takes for a folder."""
    model = Path(shutil.copytree(tiny_llama, tmp_path / "Tiny"))
    monkeypatch.chdir(tmp_path if name.endswith("/") else model)
    assert edgesw("convert", name, "--target", "onnx", "--calibrate", "none").code == 0
    assert read_manifest(Path("Tiny-4bit")).source.name == "Tiny"
    assert "# Tiny, 4 bits" in Path("Tiny-4bit", "README.md").read_text()


def test_progress_never_runs_backwards_or_past_its_end(tiny_llama: Path, tmp_path: Path) -> None:
    """A bar at 130% says that nobody knows how long it takes."""
    seen: dict[str, list[tuple[int, int]]] = {}

    def progress(stage: str, detail: str, done: int, total: int) -> None:
        seen.setdefault(stage, []).append((done, total))

    settings = Settings(("onnx",))
    convert(open_checkpoint(str(tiny_llama)), settings, tmp_path / "x", force=False, progress=progress)
    stages = ["Reading", "Finding super weights", "Calibrating", "Compiling the searches", "Writing ONNX"]
    stages += ["Checking ONNX", "Checksums"]
    assert list(seen) == stages
    for stage, steps in seen.items():
        assert all(0 <= done <= total for done, total in steps), stage
        assert len({total for _, total in steps}) == 1, stage
        if stage != "Finding super weights":  # every pass starts from zero
            assert [done for done, _ in steps] == sorted({done for done, _ in steps}), stage
    assert len(seen["Writing ONNX"]) == 2 * 7 + 1, "seven matrices a layer and the embedding"


def test_compiling_is_said_before_it_is_waited_for(tiny_llama: Path, tmp_path: Path) -> None:
    """The first conversion on a machine compiles for ten seconds: unannounced it would look hung."""
    stages: list[str] = []
    settings = Settings(("coreml",), 3)
    convert(
        open_checkpoint(str(tiny_llama)),
        settings,
        tmp_path / "x",
        force=False,
        progress=lambda stage, detail, done, total: stages.append(stage),
    )
    assert stages.index("Compiling the searches") < stages.index("Writing Core ML")
