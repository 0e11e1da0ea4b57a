"""`prune` against transformers with the same scalars zeroed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import study_reference as reference
import torch
from tiny import SUPER_WEIGHT

from edgesw.study import prune
from edgesw.study.evaluation import Evaluation
from edgesw.study.result import Findings


@pytest.fixture(scope="module")
def findings(evaluation: Evaluation) -> Findings:
    return prune.run(evaluation)


def assert_row(findings: Findings, index: int, expected: object) -> None:
    row = findings.rows[index]
    for key, value in vars(expected).items():
        assert row[key] == pytest.approx(value, rel=1e-3), (row["condition"], key)


def test_float_and_zeroed_equal_transformers(
    findings: Findings, ids: np.ndarray, tiny_model: tuple[Path, Any], zeroed: Any
) -> None:
    """The table's headline: what the model does with and without its super weight."""
    float_model = tiny_model[1]
    assert findings.rows[0]["agreement"] == 1
    assert_row(findings, 0, reference.measured(float_model, ids, float_model))
    assert_row(findings, 1, reference.measured(zeroed, ids, float_model))
    assert abs(findings.rows[1]["perplexity"] / findings.rows[0]["perplexity"] - 1) > 0.01, "zeroing did nothing"
    assert [row["removed"] for row in findings.rows[:3]] == [0, 1, 1]


def test_restoring_the_super_activation_equals_a_hook_in_transformers(
    findings: Findings, ids: np.ndarray, tiny_model: tuple[Path, Any], zeroed: Any
) -> None:
    """Restored after its own layer and nowhere else: elsewhere it would measure something the paper does not."""
    float_model, (layer, channel, _) = tiny_model[1], SUPER_WEIGHT
    spikes: list[torch.Tensor] = []

    def remember(module: Any, inputs: Any, x: torch.Tensor) -> None:
        spikes.append(x[..., channel])

    def restore(module: Any, inputs: Any, x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[..., channel] = torch.where(spikes[0].abs() > 100, spikes[0], x[..., channel])
        return x

    hook = float_model.model.layers[layer].register_forward_hook(remember)
    second = zeroed.model.layers[layer].register_forward_hook(restore)
    results, restored = [], 0
    for window in ids:
        spikes.clear()
        list(reference.logits(float_model, window[None]))
        restored += int((spikes[0].abs() > 100).sum())
        results.append(reference.measured(zeroed, window[None], float_model))
    hook.remove()
    second.remove()
    assert restored > 0
    expected = np.exp(np.mean(np.log([result.perplexity for result in results])))
    assert findings.rows[2]["perplexity"] == pytest.approx(expected, rel=1e-3)
    assert findings.rows[2]["perplexity"] != pytest.approx(findings.rows[1]["perplexity"], rel=1e-3)
    assert f"Restored: {restored} of {ids.size} tokens, in channel {channel} after layer {layer}." in findings.notes


def test_the_largest_others_are_zeroed_as_a_sort_of_all_scalars_says(
    findings: Findings, ids: np.ndarray, tiny_model: tuple[Path, Any], model: Any
) -> None:
    """What the super weights are compared with. A streamed search that misses some would flatter them."""
    layer, row, column = SUPER_WEIGHT
    weights = {name: linear.weight for name, linear in reference.matrices(model).items()}
    with torch.no_grad():
        kept = float(weights[f"layers.{layer}.down_proj"][row, column])
        weights[f"layers.{layer}.down_proj"][row, column] = 0
        everything = torch.cat([weight.flatten().abs() for weight in weights.values()])
        count = len(everything) // 10_000
        least = everything.sort(descending=True).values[count - 1]
        for weight in weights.values():
            weight[weight.abs() >= least] = 0
        weights[f"layers.{layer}.down_proj"][row, column] = kept
    assert findings.rows[-1]["removed"] == count > 1
    assert_row(findings, -1, reference.measured(model, ids, tiny_model[1]))
    assert f"a magnitude of {least:.2f} or more" in findings.notes[0]
