"""Blocks: round-to-nearest at growing block sizes, with and without super weights held out (arXiv 2411.07191, 5.2)."""

from __future__ import annotations

import numpy as np

from edgesw.decoder.weights import ChangedWeights, places_of
from edgesw.study.evaluation import Condition, Evaluation
from edgesw.study.quantization import BITS, fake_quantize
from edgesw.study.result import Column, Findings, Row

TITLE = f"round-to-nearest in {BITS} bits, block by block"
# Columns of a row that share a range: 0 is the whole row, None the whole matrix.
BLOCKS: tuple[int | None, ...] = (32, 64, 128, 256, 512, 0, None)
# Values farther than this from their block's mean are clipped. See docs/study.md for how it was chosen.
SIGMAS = 9.0
WAYS = ("plain", "clipped", "held_out")
COLUMNS = (
    Column("condition", "block"),
    Column("plain", "plain", ",.2f"),
    Column("clipped", "clipped", ",.2f"),
    Column("held_out", "clipped, held out", ",.2f"),
    Column("plain_agreement", "top-1: plain", ".1%"),
    Column("clipped_agreement", "clipped", ".1%"),
    Column("held_out_agreement", "clipped, held out", ".1%"),
)


def run(evaluation: Evaluation) -> Findings:
    """Quantizes the layers' matrices to BITS bits: plain, clipped, and clipped with the super weights held out."""
    conditions = [
        Condition(f"{name_of(block)}, {way.replace('_', ' ')}", quantized(evaluation, block, way))
        for block in BLOCKS
        for way in WAYS
    ]
    unchanged = evaluation.measure(evaluation.float)
    results = iter(evaluation.measure_all("blocks", conditions))
    rows = []
    for block in BLOCKS:
        row: Row = {"condition": name_of(block), "block": block}
        for way in WAYS:
            result = next(results)
            row |= {way: result.perplexity, f"{way}_accuracy": result.accuracy, f"{way}_agreement": result.agreement}
        rows.append(row)
    notes = (
        f"Perplexity and top-1 agreement; the float model's perplexity is {unchanged.perplexity:.2f}.",
        f"Clipped: to {SIGMAS:g} standard deviations from the mean of each block. Embedding and head stay in float.",
    )
    return Findings(COLUMNS, tuple(rows), notes)


def name_of(block: int | None) -> str:
    """The name of a block size in the table."""
    return {0: "row", None: "matrix"}.get(block, str(block))


def quantized(evaluation: Evaluation, block: int | None, way: str) -> ChangedWeights:
    """The float weights with each matrix of the layers quantized in one of WAYS."""
    matrices = set(evaluation.spec.matrices())
    held_out = places_of(evaluation.coordinates) if way == "held_out" else {}

    def change(name: str, values: np.ndarray) -> np.ndarray:
        if name not in matrices:
            return values
        made = fake_quantize(values, block, None if way == "plain" else SIGMAS)
        if name in held_out:
            made[held_out[name]] = values[held_out[name]]
        return made

    return ChangedWeights(evaluation.weights, change)
