"""`blocks` against transformers with the same matrices quantized by torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import study_reference as reference
import torch

from edgesw.study import blocks
from edgesw.study.evaluation import Evaluation


def quantize_rows(weight: torch.Tensor, sigmas: float | None) -> torch.Tensor:
    """Each row in 4 bits, by torch's integers with a scale and a shift for each row."""
    if sigmas is not None:
        std, mean = torch.std_mean(weight.double(), 1, correction=0, keepdim=True)
        weight = weight.clamp((mean - sigmas * std).float(), (mean + sigmas * std).float())
    low = weight.amin(1, keepdim=True)
    step = (weight.amax(1) - low[:, 0]).div(15).clamp_min(1e-20)
    zeros = torch.zeros(len(weight), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight - low, step, zeros, 0, 0, 15) + low


def test_the_row_of_whole_rows_equals_transformers(
    evaluation: Evaluation,
    ids: np.ndarray,
    tiny_model: tuple[Path, Any],
    model: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line of the table from end to end: quantized matrices, float embedding and head, perplexity in its column."""
    monkeypatch.setattr(blocks, "BLOCKS", (32, 0))
    rows = {row["condition"]: row for row in blocks.run(evaluation).rows}
    assert list(rows) == ["32", "row"]
    with torch.no_grad():
        for linear in reference.matrices(model).values():
            linear.weight.copy_(quantize_rows(linear.weight, None))
    expected = reference.measured(model, ids, tiny_model[1])
    assert rows["row"]["plain"] == pytest.approx(expected.perplexity, rel=1e-2)
    assert rows["row"]["plain_accuracy"] == pytest.approx(expected.accuracy, abs=0.01)
    assert rows["row"]["plain_agreement"] == pytest.approx(expected.agreement, abs=0.01)
    assert rows["row"]["plain"] > rows["32"]["plain"], "larger blocks cannot be better here"
