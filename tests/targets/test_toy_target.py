"""A third target: float16 safetensors that run in torch. Whatever it needed beyond its own class, writer and runtime, a
real third target would have to find and edit all over the library."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from tiny import edgesw, tree

from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.plan import Capabilities
from edgesw.decoder.decoder import decoder_head
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import PackageError
from edgesw.files.type_check import structure
from edgesw.formats.write_options import WriteOptions
from edgesw.inspect.contents import CODES, ModelContents, Piece, Weight
from edgesw.package.manifest import Manifest, read_manifest
from edgesw.package.publish import check_files
from edgesw.runtime.packaged_decoder import PackagedDecoder, PackageMatrices, check_room, last_logits
from edgesw.runtime.torch import TorchOps, residual_stream
from edgesw.system.findings import Finding
from edgesw.targets import registry
from edgesw.targets.target import Target


@dataclass(frozen=True)
class NoOptions:
    """Nothing is asked of this target alone."""


class Halves:
    """Float32 tensors of a safetensors file of float16, as an interpreter takes them."""

    def __init__(self, path: Path) -> None:
        self._file = safe_open(str(path), "np")

    def tensor(self, name: str) -> np.ndarray:
        if name not in set(self._file.keys()):
            raise PackageError(f"{name} is missing: convert again.")
        return np.asarray(self._file.get_tensor(name), np.float32)

    def matrix(self, name: str) -> np.ndarray:
        return self.tensor(name)

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self.tensor(name)[rows]


class TorchDecoder:
    """Runs all tokens so far whenever one is added: slow, and nothing to get wrong."""

    runtime = "torch"

    def __init__(self, path: Path, context: int) -> None:
        self.spec = structure(DecoderSpec, json.loads(path.with_suffix(".json").read_text()))
        self.context, self._weights = context, Halves(path)
        self.reset()

    def reset(self) -> None:
        self._ids = np.zeros(0, np.int64)

    def step(self, ids: np.ndarray) -> np.ndarray:
        check_room(len(self._ids), ids, self.context)
        self._ids = np.concatenate([self._ids, np.asarray(ids, np.int64)])
        ops = TorchOps(self.spec, self._weights, self._ids[None])
        for x in residual_stream(ops):
            hidden = x
        with torch.inference_mode():
            return decoder_head(ops, hidden[0, -len(ids) :]).numpy()

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        return last_logits(self, ids)


class ToyTarget(Target[NoOptions, NoOptions]):
    """The whole target."""

    name, title, suffix = "toy", "Toy", ".safetensors"
    asked = options = NoOptions
    libraries = {"safetensors": "toy packages"}  # noqa: RUF012

    def capabilities(self, options: NoOptions, quantized_activations: bool = False) -> Capabilities:
        return Capabilities({"block": (8,)}, whole_groups=False)

    def resolve(self, asked: NoOptions, context: int) -> NoOptions:
        return asked

    def path(self, options: NoOptions) -> str:
        return "model.safetensors"

    def write(
        self, decoder: CompressedDecoder, spec: DecoderSpec, options: NoOptions, common: WriteOptions, path: Path
    ) -> None:
        matrices = [matrix.name for matrix in decoder.plan.matrices]
        norms = ["norm", *(f"layers.{n}.{kind}_norm" for n in range(spec.layers) for kind in ("attention", "mlp"))]
        values = {name: decoder.tensor(name).astype(np.float16) for name in (*matrices, *norms)}
        if spec.tied_head:
            values["lm_head"] = values["embed_tokens"].copy()
        save_file(values, path)
        path.with_suffix(".json").write_text(json.dumps(asdict(spec)))

    def open(
        self,
        path: Path,
        context: int,
        *,
        precision: str = "float16",
        compute: str | None = None,
        corrected: bool = True,
    ) -> PackagedDecoder:
        return TorchDecoder(path, context)

    def matrices(self, package: Path, manifest: Manifest) -> PackageMatrices:
        return Halves(self.model_path(package, manifest))

    def inspect(self, path: Path) -> tuple[ModelContents, ...]:
        weights = []
        with safe_open(str(path), "np") as file:
            for name in sorted(file.keys()):
                shape = tuple(file.get_slice(name).get_shape())
                size = 2 * int(np.prod(shape))
                weights.append(Weight(name, shape, "float16", (Piece(CODES, (path.name, name), size),)))
        size = path.stat().st_size
        return (ModelContents(path, "safetensors", {}, tuple(weights), (), {}, (), size),)

    def usage(self, manifest: Manifest) -> str:
        return "Run it in torch, if you like toys."

    def findings(self) -> Iterator[Finding]:
        yield Finding("toys", True, "all of them")


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one edit: the registry."""
    monkeypatch.setitem(registry.TARGETS, "toy", ToyTarget())


@pytest.fixture
def package(tiny_llama: Path, make_once: Callable[..., Path], tmp_path: Path) -> Path:
    """Converted for the toy and for ONNX, which is beside it in every table."""

    def make(folder: Path) -> None:
        ran = edgesw("convert", tiny_llama, "--target", "toy", "--target", "onnx", "--bits", 8, "-o", folder)
        assert ran.code == 0, ran.err
        assert f"{folder / 'model.safetensors'}  " in ran.out

    return Path(shutil.copytree(make_once("toy", make), tmp_path / "package"))


def test_conversion_writes_it_like_any_other(package: Path) -> None:
    manifest = read_manifest(package)
    check_files(package, manifest, contents=True, extra=True)
    model = manifest.models["toy"]
    assert (model.path, model.files) == ("model.safetensors", ("model.json", "model.safetensors"))
    assert (model.scheme, model.options) == ("block 8 bits, blocks of 32", {})
    assert "Run it in torch, if you like toys." in (package / "README.md").read_text()
    assert "| toy | `model.safetensors` |" in (package / "README.md").read_text()
    assert not any(".compressed" in name for name in tree(package))


def test_a_dry_run_plans_it(tiny_llama: Path) -> None:
    ran = edgesw("convert", tiny_llama, "--target", "toy", "--bits", 8, "--dry-run", "--json")
    assert ran.code == 0 and json.loads(ran.out)["stored_bits"].keys() == {"toy"}
    ran = edgesw("convert", tiny_llama, "--target", "toy", "--bits", 3, "--dry-run")
    assert ran.code == 2 and ran.err.startswith("Error: --target toy: ")
    ran = edgesw("convert", tiny_llama, "--target", "toy", "--activations", 8, "--dry-run")
    assert ran.code == 2 and ran.err.count("\n") == 1, "it has no 8-bit activations"


def test_validation_measures_it(package: Path, tiny_llama: Path) -> None:
    """Its matrices are those that ONNX has, and its arithmetic is float32: it must be at least as near to the float
    model, in the product's own figures."""
    ran = edgesw(
        "validate", package, "--against", tiny_llama, "--windows", 2, "--tokens", 64, "--details", "--record", "--json"
    )
    assert ran.code == 0, ran
    told = json.loads(ran.out)
    assert told["targets"]["toy"]["runtime"] == "torch"
    assert 0 < told["targets"]["toy"]["kl_divergence"] <= told["targets"]["onnx"]["kl_divergence"]
    errors = {
        target: {each["name"]: each["error"] for each in told["matrices"] if each["target"] == target}
        for target in ("toy", "onnx")
    }
    assert errors["toy"].keys() == errors["onnx"].keys()
    for name, error in errors["toy"].items():
        assert error == pytest.approx(errors["onnx"][name], rel=0.05, abs=1e-4), name
    assert "| toy |" in (package / "README.md").read_text()


def test_text_is_generated_by_it(package: Path) -> None:
    texts = {name: edgesw("generate", package, "The", "--target", name, "--max-tokens", 8) for name in ("toy", "onnx")}
    assert texts["toy"].code == 0 and texts["toy"].out.startswith("The") and len(texts["toy"].out) > 5
    assert edgesw("generate", package, "The", "--max-tokens", 8).out == texts["toy"].out, "the first is the default"
    ran = edgesw("generate", package, "The", "--uncorrected")
    assert ran.code == 2 and "has no toy model without what is held out" in ran.err


def test_inspection_reads_it(package: Path) -> None:
    ran = edgesw("inspect", package, "--json")
    assert ran.code == 0, ran.err
    toy = json.loads(ran.out)["models"][0]
    assert toy["format"] == "safetensors" and "layers.0.down_proj" in {each["name"] for each in toy["weights"]}
    assert edgesw("inspect", package).code == 0
    assert edgesw("inspect", package / "model.safetensors").code == 0


def test_the_report_shows_it(package: Path, tiny_llama: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    ran = edgesw("report", package, "--against", tiny_llama, "--windows", 1, "-o", page)
    assert ran.code in (0, 3), ran.err
    html = page.read_text()
    assert ">toy</th>" in html and "block 8 bits, blocks of 32" in html


def test_it_is_timed_and_compared(package: Path, tiny_llama: Path) -> None:
    ran = edgesw("bench", package, "--target", "onnx", "--target", "toy", "--prompts", "4", "--tokens", 2, "--json")
    # Timings run in processes of their own, which do not know this test's registry.
    assert ran.code == 2 and "has no toy model" in ran.err
    ran = edgesw("compare", package, "--against", tiny_llama, "--windows", 1, "--no-speed", "--json")
    assert ran.code == 0, ran.err
    assert [each["target"] for each in json.loads(ran.out)] == ["toy", "onnx"]


def test_doctor_looks_for_what_it_needs(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = edgesw("doctor", tiny_llama, "--json")
    told = json.loads(ran.out)
    found = {each["name"]: each for each in told["findings"]}
    assert found["safetensors"]["there"] and found["toys"]["what"] == "all of them"
    fits = {each["target"]: each["verdict"] for each in told["fit"]["targets"]}
    assert "8" in str(told["fit"]) and fits["toy"] != "fits", "its only width is not the default"
