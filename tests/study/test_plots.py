"""The pictures: figures and words that drawing could stumble over."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib.image
import pytest

from edgesw.study.plots import plot
from edgesw.study.result import Findings, Row, StudyResult


def result(experiment: str, rows: tuple[Row, ...]) -> StudyResult:
    return StudyResult(
        experiment, "title", "a$model_$", "local folder", None, "text_$1$.txt", "", 1, 8, (), Findings((), rows)
    )


def test_a_token_of_any_script_or_sign_can_be_drawn(tmp_path: Path) -> None:
    """What rises when super weights are gone may be any token: "$" is no formula, and Chinese is no warning."""
    rows = tuple(
        {"condition": repr(token), "float": 1e-3, "removed": 2e-2} for token in ("$\\frac$", "$x_$", "的", "", "\ufffd")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot(result("stopwords", rows), tmp_path / "stopwords.png")
    assert matplotlib.image.imread(tmp_path / "stopwords.png").shape[1] > 600


@pytest.mark.parametrize("experiment", ["prune", "activations"])
def test_a_perplexity_that_is_no_number_does_not_lose_the_others(experiment: str, tmp_path: Path) -> None:
    """A ruined model may overflow: the run's other figures must still be drawn and saved."""
    rows = tuple(
        {"condition": name, "perplexity": value}
        for name, value in (("a", 30.0), ("b", float("inf")), ("c", float("nan")))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot(result(experiment, rows), tmp_path / "plot.png")
    picture = matplotlib.image.imread(tmp_path / "plot.png")
    assert picture[..., :3].mean() < 0.999
    saved = result(experiment, rows).to_dict()["rows"]
    assert [row["perplexity"] for row in saved] == [30.0, None, None]
