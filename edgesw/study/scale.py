"""Scale: super weights multiplied by factors below and above one (arXiv 2411.07191, section 3.4)."""

from __future__ import annotations

from edgesw.decoder.weights import places_of, scaled
from edgesw.study.evaluation import Condition, Evaluation
from edgesw.study.result import ACCURACY, AGREEMENT, INCREASE, PERPLEXITY, Column, Findings

TITLE = "super weights scaled"
FACTORS = tuple(step / 5 for step in range(16))  # 0, 0.2, ... 3
COLUMNS = (
    Column("condition", "super weights"),
    PERPLEXITY,
    INCREASE,
    ACCURACY,
    AGREEMENT,
)


def run(evaluation: Evaluation) -> Findings:
    """Multiplies all super weights by each of FACTORS."""
    places = places_of(evaluation.coordinates)
    conditions = [
        Condition(f"times {factor:g}", scaled(evaluation.weights, places, factor), evaluation.first)
        for factor in FACTORS
    ]
    results = evaluation.measure_all("scale", conditions)
    unchanged = results[FACTORS.index(1.0)].perplexity
    rows = tuple(
        {
            "condition": condition.name,
            "factor": factor,
            **vars(result),
            "increase": result.perplexity / unchanged - 1,
        }
        for factor, condition, result in zip(FACTORS, conditions, results, strict=True)
    )
    best = min(rows, key=lambda row: row["perplexity"])
    return Findings(COLUMNS, rows, (f"Lowest perplexity: {best['perplexity']:.2f}, {best['condition']}.",))
