"""`activations` against transformers with torch's own fake quantisation in front of each matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import study_reference as reference
import torch
from tiny import SUPER_WEIGHT

from edgesw.study import activations
from edgesw.study.evaluation import Evaluation
from edgesw.study.result import Findings


@pytest.fixture(scope="module")
def findings(evaluation: Evaluation) -> Findings:
    return activations.run(evaluation)


def quantized(x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """One window (tokens, channels) in 8 bits, except for the entries `kept`."""
    scale = float(x[~kept].abs().max()) / 127
    return torch.where(kept, x, torch.fake_quantize_per_tensor_affine(x, scale, 0, -127, 127))


def per_window(x: torch.Tensor) -> torch.Tensor:
    return quantized(x, torch.zeros_like(x, dtype=torch.bool))


def outliers_kept(x: torch.Tensor) -> torch.Tensor:
    return quantized(x, x.abs() > 30 * x.norm() / x.numel() ** 0.5)


def per_token(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([per_window(token[None])[0] for token in x])


@pytest.mark.parametrize(("row", "by"), [(1, per_window), (3, outliers_kept), (4, per_token)])
def test_each_way_equals_transformers(
    row: int, by: Any, findings: Findings, ids: np.ndarray, tiny_model: tuple[Path, Any], model: Any
) -> None:
    """Every matrix of the layers, and not the head, reads quantized inputs."""
    for linear in reference.matrices(model).values():
        linear.register_forward_pre_hook(lambda module, inputs: (by(inputs[0][0])[None],))
    expected = reference.measured(model, ids, tiny_model[1])
    # An input that falls between two integers may go either way.
    assert findings.rows[row]["perplexity"] == pytest.approx(expected.perplexity, rel=5e-3)
    assert findings.rows[row]["agreement"] == pytest.approx(expected.agreement, abs=0.02)


def test_keeping_entries_in_float_helps_and_is_counted(findings: Findings) -> None:
    """A scale per window breaks on the planted outlier. What stays in float is not free, so its share is reported."""
    _, naive, channels, outliers, token = (row["perplexity"] for row in findings.rows)
    assert naive > 1.02 * max(outliers, token)
    assert channels < naive
    shares = [row.get("kept") for row in findings.rows]
    assert shares[0] is None and shares[1] == shares[4] == 0
    assert 0 < shares[2] < 0.05 and 0 < shares[3] < 0.05


def test_the_channels_are_those_that_detection_names(evaluation: Evaluation) -> None:
    """The super weight's own input, and its channel in the layers that read it: not in the layer that makes it."""
    layer, row, column = SUPER_WEIGHT
    kept = activations.SuperActivationChannels(evaluation)
    inner = kept(torch.zeros(2, 3, 160), f"layers.{layer}.down_proj")
    assert inner.nonzero()[:, 2].unique().tolist() == [column] and inner[..., column].all()
    for kind in activations.READERS:
        assert row in kept(torch.zeros(1, 1, 64), f"layers.{layer + 1}.{kind}").nonzero()[:, 2].tolist()
        assert row not in kept(torch.zeros(1, 1, 64), f"layers.{layer}.{kind}").nonzero()[:, 2].tolist()
    assert not kept(torch.zeros(1, 1, 64), f"layers.{layer + 1}.o_proj").any()


def test_silent_inputs_stay_silent() -> None:
    """A token of zeros has no scale: NaN there would spread over the whole window."""
    x = torch.tensor([[[0.0, 0.0], [1.0, -0.5]]])
    assert activations.fake_quantize(x, per_token=True)[0, 0].tolist() == [0, 0]
    assert not activations.fake_quantize(torch.zeros(1, 2, 2), per_token=False).any()
