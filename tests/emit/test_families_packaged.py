"""Packages of every family compute what transformers' model computes with the weights in the package's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from stored import stored_matrices, with_matrices
from tiny import unrounded
from tiny_families import VARIANTS, save

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.plan import make_plan
from edgesw.formats.write_options import WriteOptions
from edgesw.runtime.coreml import CoreMLDecoder
from edgesw.runtime.mil import MilProgram
from edgesw.runtime.packaged_decoder import PackagedDecoder
from edgesw.runtime.torch import FloatLogits
from edgesw.targets.registry import TARGETS

CONTEXT = 64
IDS = np.random.default_rng(5).integers(0, 96, 60)


def run(target: str, path: Path, precision: str) -> PackagedDecoder:
    if target == "coreml":
        return CoreMLDecoder(MilProgram(path, precision=precision), CONTEXT, "interpreter")
    return TARGETS[target].open(unrounded(path), CONTEXT, precision=precision)


@pytest.mark.parametrize("target", ["coreml", "onnx"])
@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=[pytest.mark.slow] if at % 2 else []) for at, name in enumerate(VARIANTS)]
)
def test_packages_equal_transformers_with_their_weights(variant: str, target: str, tmp_path: Path) -> None:
    """In one piece and in several: windows, caps and position embeddings must agree at every position."""
    save(variant, tmp_path)
    checkpoint, entry = open_checkpoint(str(tmp_path)), TARGETS[target]
    weights = CompressedDecoder(checkpoint, make_plan(checkpoint.spec, entry.capabilities(entry.options()), bits=4))
    path = tmp_path / entry.path(entry.options())
    entry.write(weights, checkpoint.spec, entry.options(), WriteOptions(CONTEXT, "tiny"), path)
    with torch.inference_mode():
        model = with_matrices(variant, stored_matrices(target, path))
        expected = model(torch.from_numpy(IDS)[None]).logits[0].numpy()

    decoder = run(target, path, "float32")
    largest = np.abs(expected).max()
    # Core ML's norms, biases and tables are float16 constants in any precision.
    tolerance = {"coreml": 0.02, "onnx": 1e-3}[target] * max(1, largest)
    assert np.abs(decoder.step(IDS) - expected).max() < tolerance
    decoder.reset()
    pieces = [decoder.step(IDS[at:to]) for at, to in [(0, 1), (1, 2), (2, 30), (30, 31), (31, 60)]]
    assert np.abs(np.concatenate(pieces) - expected).max() < tolerance
    if target == "coreml":
        half = run(target, path, "float16").step(IDS)
        assert np.abs(half - expected).max() < 0.1 * max(1, largest)


@pytest.mark.parametrize("target", ["coreml", "onnx"])
@pytest.mark.parametrize("variant", ["llama-biased", "gemma2"])
def test_columns_and_scalars_held_out_of_every_matrix(variant: str, target: str, tmp_path: Path) -> None:
    """Together with biases, norms and caps too: a lost correction is an error in the column that matters most."""
    save(variant, tmp_path)
    checkpoint, entry = open_checkpoint(str(tmp_path)), TARGETS[target]
    spec = checkpoint.spec
    columns = {name: (1, spec.matrix_shape(name)[1] - 1) for name in spec.matrices()}
    plan = make_plan(spec, entry.capabilities(entry.options()), bits=4)
    weights = CompressedDecoder(checkpoint, plan, None, HoldOut(columns, fraction=0.01))
    for name, held in columns.items():
        each = weights.matrix(name).held_out_scalars
        assert each is not None
        off = np.abs(weights.tensor(name) - checkpoint.tensor(name))
        assert off[:, held].max() < 1e-3
        assert off[each.rows, each.columns].max() < 1e-3
    path = tmp_path / entry.path(entry.options())
    entry.write(weights, spec, entry.options(), WriteOptions(CONTEXT, "tiny"), path)
    expected = next(iter(FloatLogits(spec, weights, IDS[None])))
    largest = max(1, np.abs(expected).max())
    assert (
        np.abs(run(target, path, "float32").step(IDS) - expected).max()
        < {"coreml": 0.02, "onnx": 1e-3}[target] * largest
    )
    if target == "coreml":
        assert np.abs(run(target, path, "float16").step(IDS) - expected).max() < 0.1 * largest
