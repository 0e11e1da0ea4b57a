"""What `validate` says about a package that fails: where its error is, and what measured better there."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import numpy_helper
from tiny import Ran, assert_one_line, edgesw

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.compress.decoder import CompressedDecoder
from edgesw.conversion.plans import make_plans
from edgesw.conversion.settings import Settings


def validate(package: Path, model: Path, *more: object) -> Ran:
    return edgesw("validate", package, "--against", model, "--windows", 1, "--tokens", 64, *more)


@pytest.fixture(scope="module")
def coarse(tiny_llama: Path, converted: Callable[..., Path]) -> dict[str, Any]:
    package = converted("--target", "onnx", "--bits", "2", "--calibrate", "none")
    ran = validate(package, tiny_llama, "--max-kl", "0.01", "--details", "--json")
    assert ran.code == 3, ran.err
    return json.loads(ran.out)


def test_a_coarse_package_is_told_its_worst_matrices(coarse: dict[str, Any]) -> None:
    """ "Failed" alone leaves people to try one option after the other, an hour each."""
    worst = sorted(coarse["matrices"], key=lambda each: -each["error"])
    line, better = coarse["advice"]["onnx"]
    assert line.startswith("furthest off: ")
    assert better.startswith(f"{re.split('[ ,]', line.removeprefix('furthest off: '))[0]} would be off by ")
    assert worst[0]["error"] > 0.1


def test_what_would_be_better_is_measured(coarse: dict[str, Any], tiny_llama: Path) -> None:
    """Advice that is made up costs an hour too. The errors fall with more bits, and are below the one there is."""
    _, better = coarse["advice"]["onnx"]
    name = better.split()[0]
    found = {how: float(share) / 100 for share, how in re.findall(r"([\d.]+)% ([^,]+)", better)}
    order = [found[f"with --bits {bits}"] for bits in (8, 4)]
    assert order == sorted(order) and list(found.values()) == sorted(found.values())
    assert max(found.values()) < max(each["error"] for each in coarse["matrices"] if each["name"] == name) + 0.3
    checkpoint = open_checkpoint(str(tiny_llama))
    plan = make_plans(checkpoint.spec, Settings(("onnx",), 8)).compressions["onnx"]
    weights, made = checkpoint.tensor(name), CompressedDecoder(checkpoint, plan).tensor(name)
    rough = float(((made - weights) ** 2).sum() / (weights**2).sum()) ** 0.5  # inputs that are all alike
    assert rough / 4 < found["with --bits 8"] < 4 * rough


def test_a_graph_that_computes_something_else_is_not_blamed_on_compression(
    tiny_llama: Path, converted: Callable[..., Path], tmp_path: Path
) -> None:
    """A rotary table of another base: more bits would be tried in vain."""
    package = Path(shutil.copytree(converted("--target", "onnx", "--bits", "8"), tmp_path / "p"))
    path = package / "model.onnx"
    model = onnx.load(path)
    tables = [each for each in model.graph.initializer if "_cache_" in each.name]
    assert len(tables) == 2
    for table in tables:
        values = numpy_helper.to_array(table)
        table.CopyFrom(numpy_helper.from_array(values[::-1].copy(), table.name))
    for stale in package.glob("model.onnx*"):
        stale.unlink()
    onnx.save_model(model, str(path), save_as_external_data=True, location="model.onnx.data")
    manifest = json.loads((package / "manifest.json").read_text())
    for name in ("model.onnx", "model.onnx.data"):
        content = (package / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (package / "manifest.json").write_text(json.dumps(manifest))
    ran = validate(package, tiny_llama)
    assert ran.code == 3, ran.err
    assert "onnx fails: its matrices alone, in the float decoder, have a KL divergence of 0.0" in ran.out
    assert "the rest is the graph or its runtime" in ran.out
    assert "more bits would be tried in vain" in ran.out


def test_a_damaged_matrix_fails_however_little_it_costs(
    tiny_llama: Path, converted: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One layer's doubled scales cost a model with norms after its matrices no more than four bits do."""
    from edgesw.runtime.onnx_matrices import OnnxMatrices

    package, read = converted("--target", "onnx", "--bits", "4"), OnnxMatrices.matrix
    words = ("--max-kl", 9, "--min-top1", 1, "--max-perplexity-increase", 900)
    assert validate(package, tiny_llama, *words).code == 0

    def doubled(self: Any, name: str) -> Any:
        return read(self, name) * (2 if name == "layers.1.up_proj" else 1)

    monkeypatch.setattr(OnnxMatrices, "matrix", doubled)
    monkeypatch.setattr("edgesw.validation.validate.SUSPECT", 0.0)  # the tiny model hardly minds
    ran = validate(package, tiny_llama, *words)
    assert ran.code == 3 and "onnx fails: layers.1.up_proj is off by 1" in ran.out


def test_a_tokenizer_that_begins_a_text_otherwise_is_refused(
    tiny_llama: Path, converted: Callable[..., Path], tmp_path: Path
) -> None:
    """Without BOS both models would read another text than the float model was made for, and agree on it."""
    package = Path(shutil.copytree(converted("--target", "onnx", "--bits", "4"), tmp_path / "p"))
    tokenizer = json.loads((package / "tokenizer.json").read_text())
    tokenizer["post_processor"] = None
    content = json.dumps(tokenizer).encode()
    (package / "tokenizer.json").write_bytes(content)
    manifest = json.loads((package / "manifest.json").read_text())
    manifest["files"]["tokenizer.json"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (package / "manifest.json").write_text(json.dumps(manifest))
    assert_one_line(validate(package, tiny_llama), 1, "its tokenizer puts [] before a text", "convert again")


def test_a_package_that_passes_gets_none(tiny_llama: Path, converted: Callable[..., Path]) -> None:
    package = converted("--target", "onnx", "--bits", "8")
    found = json.loads(validate(package, tiny_llama, "--json").out)
    assert found["passed"] and found["advice"] == {}
