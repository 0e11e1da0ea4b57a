"""SmolLM2-135M: the paper's directions, and where this model goes another way (docs/study.md has the figures)."""

from __future__ import annotations

import numpy as np
import pytest

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.outliers.detect import find_outliers
from edgesw.study import activations, blocks, prune, scale, stopwords
from edgesw.study.evaluation import Evaluation
from edgesw.text.texts import shipped_text, windows
from edgesw.text.tokenizer import Tokenizer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def evaluation(smollm2: Checkpoint, smollm2_tokenizer: Tokenizer) -> Evaluation:
    ids = windows(shipped_text("validation"), smollm2_tokenizer, 2, 256)
    return Evaluation(smollm2.spec, smollm2, ids, find_outliers(smollm2, smollm2_tokenizer, lambda *_: None))


def test_two_scalars_carry_the_model_and_a_thousand_larger_ones_do_not(evaluation: Evaluation) -> None:
    """The paper's table 1: super weights zeroed ruin the model, far more than the largest others do; and in this
    model the super activation is all of their effect."""
    rows = prune.run(evaluation).rows
    unchanged, *_, zeroed, restored, others = (row["perplexity"] for row in rows)
    assert rows[-1]["removed"] == 1000
    assert zeroed > 1000 * unchanged and zeroed > 50 * others
    assert restored == pytest.approx(unchanged, rel=0.02)
    assert rows[-3]["accuracy"] < 0.05 < rows[0]["accuracy"] / 3


def test_smaller_super_weights_ruin_and_somewhat_larger_ones_do_no_harm(evaluation: Evaluation) -> None:
    """The paper's curve: steep below 1, flat above."""
    by_factor = {row["factor"]: row["perplexity"] for row in scale.run(evaluation).rows}
    assert by_factor[0.0] > 1000 * by_factor[1.0]
    assert by_factor[0.2] > 5 * by_factor[1.0] and by_factor[0.4] > 1.2 * by_factor[1.0]
    assert by_factor[1.4] < 1.05 * by_factor[1.0]
    assert by_factor[2.0] < 1.1 * by_factor[1.0]


def test_stop_words_do_not_take_over_as_a_class(evaluation: Evaluation, smollm2_tokenizer: Tokenizer) -> None:
    """Where this model departs from the paper. Should it ever follow it, the docs are wrong."""
    rows = {row["condition"]: row for row in stopwords.run(evaluation, smollm2_tokenizer).rows}
    assert rows["' the'"]["ratio"] < 2.5 and rows["','"]["ratio"] < 2.5
    assert rows["all of these"]["ratio"] < 0.5


def test_eight_bit_activations_need_the_outliers_kept_in_float(evaluation: Evaluation) -> None:
    """One scale for a window is what the super activation breaks; less than one entry in 10,000 mends it."""
    rows = activations.run(evaluation).rows
    unchanged, naive, channels, outliers, token = (row["perplexity"] for row in rows)
    assert naive > 1.5 * unchanged
    assert channels < naive and outliers < 1.25 * unchanged
    assert rows[3]["kept"] < 1e-4
    assert token < 1.1 * unchanged


def test_clipping_needs_the_super_weights_back(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    """With rows as blocks, tightly clipped, hold-out is what keeps the model; larger blocks cost more in any case."""
    monkeypatch.setattr(blocks, "BLOCKS", (32, 0))
    monkeypatch.setattr(blocks, "SIGMAS", 4.0)
    small, row = blocks.run(evaluation).rows
    assert row["clipped"] > 1.5 * row["held_out"]
    assert row["plain"] > 1.2 * small["plain"]
    assert np.isfinite([value for key, value in row.items() if key in blocks.WAYS]).all()
