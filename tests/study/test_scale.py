"""`scale` against transformers with the super weight scaled."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import study_reference as reference

from edgesw.study import scale
from edgesw.study.evaluation import Evaluation


def test_each_factor_equals_transformers(evaluation: Evaluation, ids: np.ndarray, tiny_model: tuple[Path, Any]) -> None:
    """The curve's points, among them the one that must be the float model itself."""
    findings = scale.run(evaluation)
    assert [row["factor"] for row in findings.rows] == pytest.approx(np.arange(16) * 0.2)
    for index in (0, 3, 5, 15):
        model = copy.deepcopy(tiny_model[1])
        reference.scale_super_weight(model, index / 5)
        expected = reference.measured(model, ids, tiny_model[1])
        assert findings.rows[index]["perplexity"] == pytest.approx(expected.perplexity, rel=1e-3)
        assert findings.rows[index]["accuracy"] == pytest.approx(expected.accuracy, rel=1e-3)
    assert findings.rows[5]["increase"] == 0 and findings.rows[5]["agreement"] == 1
    lowest = min(findings.rows, key=lambda row: row["perplexity"])
    assert findings.notes == (f"Lowest perplexity: {lowest['perplexity']:.2f}, {lowest['condition']}.",)
