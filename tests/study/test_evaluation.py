"""The shared evaluation: what it reads, and that it gives the float model's own logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
import torch

from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.outliers.found import SuperOutliers, SuperWeight
from edgesw.study.evaluation import Condition, Evaluation
from edgesw.study.weights import multiplied, places_of

SECOND = SuperWeight(1, 3, 7, 0.1, 0.0, 0.0)


class Watched:
    """A checkpoint that remembers what was read."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint, self.names = checkpoint, list[str]()

    def tensor(self, name: str) -> np.ndarray:
        self.names.append(name)
        return self.checkpoint.tensor(name)

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self.checkpoint.rows(name, rows)


@pytest.fixture
def late(tiny_llama: Path, ids: np.ndarray) -> tuple[Evaluation, list[str]]:
    """An evaluation whose only super weight is in the second layer, and the names of the tensors it reads."""
    checkpoint = open_checkpoint(str(tiny_llama))
    watched = Watched(checkpoint)
    return Evaluation(checkpoint.spec, watched, ids, SuperOutliers((SECOND,), ())), watched.names


def test_a_condition_begins_at_the_layer_that_changed(late: tuple[Evaluation, list[str]], model: Any) -> None:
    """Sixteen factors on a large model are a long wait: what is before the first super weight is run once, the head
    is read once, and the result is the same."""
    evaluation, read = late
    read.clear()
    weights = multiplied(evaluation.weights, places_of([SECOND.coordinates]), -30)
    (first, *_) = evaluation.logits(Condition("scaled", weights, 1))
    assert "layers.1.down_proj" in read
    assert not [name for name in read if name.startswith("layers.0.") or name == "lm_head"]
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[3, 7] *= -30
    (expected, *_) = reference.logits(model, evaluation.ids)
    assert (first - expected).abs().max() < 1e-3


def test_the_float_model_is_not_run_again(late: tuple[Evaluation, list[str]], tiny_model: tuple[Path, Any]) -> None:
    evaluation, read = late
    read.clear()
    ours = list(evaluation.logits(evaluation.float))
    assert set(read) <= {"norm"}
    for mine, expected in zip(ours, reference.logits(tiny_model[1], evaluation.ids), strict=True):
        assert (mine - expected).abs().max() < 1e-3


def test_a_change_after_a_layer_reaches_the_next_one_and_not_the_next_condition(
    late: tuple[Evaluation, list[str]],
) -> None:
    """Restoring writes into the residual stream: kept states must not change with it."""
    evaluation, _ = late
    before = evaluation.measure(evaluation.float)

    def silence(layer: int, x: torch.Tensor) -> None:
        x.zero_()

    (changed, *_) = evaluation.logits(Condition("silenced", first=0, after=silence))
    assert (changed == changed[0]).all(), "with a silent residual stream all tokens are alike"
    assert evaluation.measure(evaluation.float) == before
    (again, *_) = evaluation.logits(Condition("run again", first=0))
    (kept, *_) = evaluation.logits(evaluation.float)
    assert (again - kept).abs().max() < 1e-4
