"""Round-to-nearest against torch's own fake quantisation, run by run, and what hold-out puts back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import SUPER_WEIGHT

from edgesw.study import blocks
from edgesw.study.evaluation import Evaluation
from edgesw.study.quantization import fake_quantize


def weights(rows: int = 6, columns: int = 80) -> np.ndarray:
    """Far from centred, with one scalar that sets its run's range."""
    values = np.random.default_rng(3).normal(0.4, 1, (rows, columns)).astype(np.float32)
    values[2, 5] = 40
    return values


def by_torch(run: np.ndarray) -> np.ndarray:
    """One run in 4 bits: moved to begin at zero, rounded by torch to integers 0 to 15, and moved back."""
    x = torch.from_numpy(run).double()
    low, step = x.min(), float(x.max() - x.min()) / 15
    moved = (x - low).float()
    return (torch.fake_quantize_per_tensor_affine(moved, step, 0, 0, 15) + low).float().numpy()


def clipped(run: np.ndarray, sigmas: float) -> np.ndarray:
    wide = run.astype(np.float64)
    mean = sum(wide) / len(wide)
    reach = sigmas * (sum((wide - mean) ** 2) / len(wide)) ** 0.5
    return np.array([min(max(value, mean - reach), mean + reach) for value in wide], np.float32)


@pytest.mark.parametrize(("block", "starts"), [(16, range(0, 80, 16)), (32, (0, 32, 64)), (0, (0,)), (512, (0,))])
@pytest.mark.parametrize("sigmas", [None, 2.0])
def test_each_run_of_a_row_is_quantized_by_itself(block: int, starts: range, sigmas: float | None) -> None:
    """32 does not divide 80: the last run of a row is shorter, and must not borrow from the next row."""
    values = weights()
    made = fake_quantize(values, block, sigmas)
    for row, out in zip(values, made, strict=True):
        for start in starts:
            run = row[start : start + (block or 80)]
            expected = by_torch(run if sigmas is None else clipped(run, sigmas))
            assert np.allclose(out[start : start + len(run)], expected, atol=1e-5)


@pytest.mark.parametrize("sigmas", [None, 9.0])
def test_a_whole_matrix_shares_one_range(sigmas: float | None) -> None:
    values = weights()
    flat = values.ravel()
    expected = by_torch(flat if sigmas is None else clipped(flat, sigmas))
    assert np.allclose(fake_quantize(values, None, sigmas).ravel(), expected, atol=1e-5)
    assert len(np.unique(fake_quantize(values, None, sigmas))) <= 16


def test_equal_values_stay() -> None:
    """A run of zeros has no range: it must not become NaN and ruin the model."""
    assert (fake_quantize(np.full((2, 64), 0.3, np.float32), 32) == np.float32(0.3)).all()


def test_only_hold_out_gives_the_super_weight_back(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clipping takes it away; held out it is exact, and its neighbours are as clipping left them."""
    monkeypatch.setattr(blocks, "SIGMAS", 3.0)
    layer, row, column = SUPER_WEIGHT
    name = f"layers.{layer}.down_proj"
    before = evaluation.weights.tensor(name)
    made = {way: blocks.quantized(evaluation, None, way).tensor(name) for way in blocks.WAYS}
    assert made["held_out"][row, column] == before[row, column]
    assert abs(made["clipped"][row, column] - before[row, column]) > 0.5
    made["clipped"][row, column] = before[row, column]
    assert (made["held_out"] == made["clipped"]).all()
    assert np.abs(made["plain"] - before).mean() > np.abs(made["clipped"] - before).mean()
    for kept in ("norm", "lm_head", f"layers.{layer}.attention_norm"):
        plain = blocks.quantized(evaluation, 32, "plain").tensor(kept)
        assert (plain == evaluation.weights.tensor(kept)).all(), f"{kept} is no matrix of a layer"
