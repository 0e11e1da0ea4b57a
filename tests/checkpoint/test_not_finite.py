"""Weights that are no numbers end every command that reads them, in one line that names the tensor."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny import assert_one_line, edgesw, unchanged

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.checkpoint.reader import all_finite

MATRIX, NORM = "model.layers.1.mlp.down_proj.weight", "model.layers.0.input_layernorm.weight"


def broken(model: Path, folder: Path, tensor: str, value: float) -> Path:
    """A copy of the model with this value in one place of a tensor."""
    shutil.copytree(model, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors[tensor].reshape(-1)[3] = value
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(("tensor", "value"), [(MATRIX, np.nan), (MATRIX, -np.inf), (NORM, np.inf)])
@pytest.mark.parametrize("command", ["detect", "convert", "study", "validate"])
def test_a_damaged_tensor_is_named(
    command: str, tensor: str, value: float, tiny_llama: Path, tiny_package: Path, tmp_path: Path
) -> None:
    """Detection said that a model of NaN has no super weights, which a user believes."""
    model = broken(tiny_llama, tmp_path / "model", tensor, value)
    words = {
        "detect": ["detect", model],
        "convert": ["convert", model, "--target", "onnx", "-o", tmp_path / "package"],
        "study": ["study", model, "--experiment", "prune", "--windows", 1, "--tokens", 16],
        "validate": ["validate", tiny_package, "--against", model, "--other-model", "--windows", 1, "--tokens", 16],
    }
    with unchanged(tmp_path):
        assert_one_line(edgesw(*words[command]), 1, f"tensor '{tensor}' holds NaN or infinity")


def test_rows_are_looked_at_too(tiny_llama: Path, tmp_path: Path) -> None:
    """The embedding is read by rows: one row of NaN is a token whose text becomes nonsense."""
    model = open_checkpoint(str(broken(tiny_llama, tmp_path / "model", "model.embed_tokens.weight", np.nan)))
    assert np.isfinite(model.rows("embed_tokens", np.array([1, 2]))).all()
    with pytest.raises(Exception, match="'model.embed_tokens.weight' holds NaN"):
        model.rows("embed_tokens", np.array([1, 0]))


def test_finite_values_of_any_size_are_taken() -> None:
    """Their sum may overflow: a check of the sum alone would refuse a model that is all right."""
    assert all_finite(np.full(9, 3e38, np.float32)) and all_finite(np.zeros((0, 4), np.float32))
    assert all_finite(np.array([3e38, 3e38, -3e38, -3e38], np.float32))
    assert not all_finite(np.array([np.inf, -np.inf], np.float32)) and not all_finite(np.array([1, np.nan], np.float32))
