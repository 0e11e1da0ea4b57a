"""`validate --details`: what models write, which matrices are off, and the float model's side that is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import edgesw
from tiny_families import save

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.compress.decoder import CompressedDecoder
from edgesw.package.manifest import read_manifest
from edgesw.targets.coreml import CoreMLOptions
from edgesw.targets.onnx import OnnxOptions
from edgesw.targets.registry import TARGETS, open_decoder
from edgesw.validation import float_cache
from edgesw.validation.float_cache import float_logits
from edgesw.validation.samples import float_greedy

PROMPTS = [[1, 40, 41], [1, 77], [1, 60, 61, 62, 63, 64, 65]]


@pytest.fixture(scope="module")
def details(tiny_llama: Path, tiny_package: Path) -> dict[str, Any]:
    ran = edgesw("validate", tiny_package, "--against", tiny_llama, "--windows", 2, "--details", "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def written_by(model: Any, prompt: list[int], most: int) -> list[int]:
    """transformers' own greedy search."""
    ids = torch.tensor([prompt])
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=most,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    return out[0, len(prompt) :].tolist()


@pytest.mark.parametrize("bits", [8, 2])
def test_the_float_text_is_the_one_that_transformers_writes(
    bits: int, tiny_model: tuple[Path, Any], converted: Callable[..., Path]
) -> None:
    """A package drafts it: even one that is wrong at nearly every token must not change what the float model says."""
    folder, model = tiny_model
    package = converted("--target", "onnx", "--bits", bits, "--calibrate", "none")
    draft = open_decoder(package, read_manifest(package), "onnx")
    checkpoint = open_checkpoint(str(folder))
    passes: list[int] = []
    found = float_greedy(checkpoint.spec, checkpoint, PROMPTS, draft, (), 20, passes.append)
    assert found == [written_by(model, prompt, 20) for prompt in PROMPTS]
    assert len(passes) < (10 if bits == 8 else 61), "it should take fewer passes than tokens"
    stop = found[0][4]
    ended = float_greedy(checkpoint.spec, checkpoint, PROMPTS[:1], draft, (stop,), 20, passes.append)
    assert ended == [found[0][: found[0].index(stop)]]


def test_samples_stand_side_by_side(details: dict[str, Any]) -> None:
    """Figures convince few; people want to read what the package says."""
    assert len(details["samples"]) == 3
    for sample in details["samples"]:
        assert set(sample["texts"]) == set(sample["same_tokens"]) == {"coreml", "onnx"}
        for target, text in sample["texts"].items():
            if text == sample["float_text"] and text:
                assert sample["same_tokens"][target] > 0


def test_every_matrix_is_measured(details: dict[str, Any], tiny_llama: Path, tiny_package: Path) -> None:
    names = set(read_manifest(tiny_package).decoder.matrices())
    for target in ("coreml", "onnx"):
        errors = {each["name"]: each["error"] for each in details["matrices"] if each["target"] == target}
        assert set(errors) == names
        assert all(1e-4 < error < 0.2 for error in errors.values()), errors


def test_a_matrix_that_is_wrong_is_the_one_that_is_named(
    tiny_llama: Path, converted: Callable[..., Path], tmp_path: Path
) -> None:
    """What else should people look at when a package fails?"""
    import shutil

    from safetensors.numpy import load_file, save_file

    package = converted("--target", "onnx", "--bits", 8, "--calibrate", "none")
    other = Path(shutil.copytree(tiny_llama, tmp_path / "other"))
    tensors = load_file(other / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"] *= 1.1
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    words = ("--against", other, "--other-model", "--windows", 1, "--details", "--max-perplexity-increase", 1000)
    ran = edgesw("validate", package, *words)
    worst = next(line for line in ran.out.splitlines() if line.startswith("Furthest off in onnx: "))
    assert worst.split(": ")[1].startswith("layers.1.up_proj 9.")


@pytest.mark.parametrize(
    "words",
    [
        ("--target", "onnx", "--bits", 4),
        ("--target", "onnx", "--bits", 2),
        ("--target", "onnx", "--portable"),
        ("--target", "onnx", "--activations", 8),
        ("--target", "onnx", "--target", "coreml", "--hold-out-fraction", 0.01, "--bits", 8),
        ("--target", "coreml", "--compute", "ane", "--chunks", 2),
        ("--target", "coreml", "--scheme", "palette", "--cluster-dim", 2, "--bits", 3),
    ],
)
def test_what_files_hold_is_what_was_compressed(words: tuple[object, ...], tiny_llama: Path, tmp_path: Path) -> None:
    """Read wrongly, a good package is called broken. Codes alone are 0.2% to 40% off; held-out values are exact."""
    from edgesw.calibration.outlier_channels import columns_of
    from edgesw.compress.hold_out import HoldOut
    from edgesw.conversion.plans import make_plans
    from edgesw.conversion.settings import Settings

    ran = edgesw("convert", tiny_llama, *words, "--calibrate", "none", "-o", tmp_path / "p")
    assert ran.code == 0, ran.err
    manifest, checkpoint = read_manifest(tmp_path / "p"), open_checkpoint(str(tiny_llama))
    given = {word: value for word, value in pairwise(words) if str(word).startswith("--")}
    asked = {"coreml": CoreMLOptions(given.get("--compute", "gpu")), "onnx": OnnxOptions("--portable" in words)}
    for target in manifest.models:
        settings = Settings(
            (target,), manifest.settings.bits, scheme=given.get("--scheme"), cluster_dim=given.get("--cluster-dim", 1),
            activations=manifest.settings.activations, options={target: asked[target]},
        )  # fmt: skip
        plan = make_plans(checkpoint.spec, settings).compressions[target]
        places = [w.coordinates for w in manifest.super_weights]
        fraction = manifest.settings.hold_out_fraction
        weights = CompressedDecoder(checkpoint, plan, None, HoldOut(columns_of(places), fraction=fraction))
        stored = TARGETS[target].matrices(tmp_path / "p", manifest)
        for name in checkpoint.spec.matrices():
            np.testing.assert_allclose(stored.matrix(name), weights.tensor(name), atol=1e-6, err_msg=name)


# --- the float model's side, kept ------------------------------------------------------------------------------------


def test_the_float_model_runs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 7B it takes minutes; a second package of the same model, or another threshold, must not wait for it again."""
    monkeypatch.setattr(float_cache, "cache_folder", lambda: tmp_path / "cache")
    save("llama", tmp_path / "a")
    ids = np.arange(40).reshape(2, 20)
    layers: list[int] = []

    def run(folder: Path, over: np.ndarray = ids) -> np.ndarray:
        layers.clear()
        return np.stack(list(float_logits(open_checkpoint(str(folder)), over, layers.append)))

    first = run(tmp_path / "a")
    assert layers
    np.testing.assert_array_equal(run(tmp_path / "a"), first)
    assert not layers
    (tmp_path / "a").rename(tmp_path / "b")  # the same content elsewhere
    np.testing.assert_array_equal(run(tmp_path / "b"), first)
    assert not layers
    assert run(tmp_path / "b", ids + 1).shape == first.shape and layers, "other tokens are another pass"
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    np.testing.assert_array_equal(run(tmp_path / "b"), first)
    assert layers, "a damaged one is computed again"
    save("llama-biased", tmp_path / "c")
    run(tmp_path / "c")
    assert layers, "another model is another pass"


def test_passes_do_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float_cache, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(float_cache, "KEPT", 3)
    save("llama", tmp_path / "a")
    checkpoint = open_checkpoint(str(tmp_path / "a"))
    for at in range(5):
        float_logits(checkpoint, np.arange(at, at + 4)[None], lambda layer: None)
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk, or in a container whose home is read-only, validation works as ever."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(float_cache, "cache_folder", lambda: tmp_path / "file" / "cache")
    save("llama", tmp_path / "a")
    assert len(list(float_logits(open_checkpoint(str(tmp_path / "a")), np.arange(4)[None], lambda layer: None))) == 1
