"""The shared evaluation: what it reads, and that it gives the float model's own logits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import study_reference as reference
import tiny_families
import torch

from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.decoder.weights import places_of, scaled
from edgesw.outliers.detect import find_outliers
from edgesw.outliers.results import SuperOutliers
from edgesw.study.evaluation import Condition, Evaluation
from edgesw.text.tokenizer import Tokenizer

SECOND = (1, 3, 7)  # a scalar of the second layer


class Watched:
    """A checkpoint that remembers what was read."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint, self.names = checkpoint, list[str]()

    def tensor(self, name: str) -> np.ndarray:
        self.names.append(name)
        return self.checkpoint.tensor(name)

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self.checkpoint.rows(name, rows)


def taken_for(outliers: SuperOutliers, coordinates: tuple[int, int, int]) -> SuperOutliers:
    """As if the scalar at `coordinates` were the model's only super weight."""
    layer, row, column = coordinates
    scalar = replace(outliers.super_weights[0], layer=layer, row=row, column=column)
    return replace(outliers, super_weights=(scalar,), super_activations=())


@pytest.fixture(scope="module")
def planted(tiny_llama: Path, tokenizer: Tokenizer) -> SuperOutliers:
    """What detection finds in the tiny model."""
    return find_outliers(open_checkpoint(str(tiny_llama)), tokenizer, lambda *_: None)


@pytest.fixture
def late(tiny_llama: Path, ids: np.ndarray, planted: SuperOutliers) -> tuple[Evaluation, list[str]]:
    """An evaluation whose only super weight is in the second layer, and the names of the tensors it reads."""
    checkpoint = open_checkpoint(str(tiny_llama))
    watched = Watched(checkpoint)
    return Evaluation(checkpoint.spec, watched, ids, taken_for(planted, SECOND)), watched.names


def test_a_condition_begins_at_the_layer_that_changed(late: tuple[Evaluation, list[str]], model: Any) -> None:
    """Sixteen factors on a large model are a long wait: what is before the first super weight is run once, the head
    is read once, and the result is the same."""
    evaluation, read = late
    read.clear()
    weights = scaled(evaluation.weights, places_of([SECOND]), -30)
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


@pytest.mark.parametrize("variant", tiny_families.VARIANTS)
def test_every_family_is_studied_as_transformers_would(variant: str, planted: SuperOutliers, tmp_path: Path) -> None:
    """Whatever a family does around its matrices, a scalar that is zeroed must be the one that is gone."""
    model = tiny_families.save(variant, tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    ids = np.random.default_rng(0).integers(3, 96, (2, 24))
    evaluation = Evaluation(checkpoint.spec, checkpoint, ids, taken_for(planted, SECOND))
    removed = Condition("removed", scaled(evaluation.weights, places_of([SECOND]), 0), 1)
    before = list(evaluation.logits(evaluation.float))
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[SECOND[1:]] = 0
    for ours, unchanged, expected in zip(evaluation.logits(removed), before, reference.logits(model, ids), strict=True):
        assert (ours - expected).abs().max() < 1e-4
        assert (unchanged - expected).abs().max() > 1e-3, "zeroing it would go unnoticed"
