"""Stop words: the tokens that a model without its super weights prefers (arXiv 2411.07191, figure 5)."""

from __future__ import annotations

import numpy as np
import torch

from edgesw.decoder.weights import places_of, scaled
from edgesw.study.evaluation import Condition, Evaluation
from edgesw.study.result import Column, Findings, Row
from edgesw.text.tokenizer import Tokenizer

TITLE = "probability of stop words"
WORDS = (" the", " a", " of", " and", " to", " in", " is", ",", " ,", ".", " .", "\n")
RAISED = 5
COLUMNS = (
    Column("condition", "token"),
    Column("share", "in the text", ".3%"),
    Column("float", "float", ".3%"),
    Column("removed", "removed", ".3%"),
    Column("ratio", "ratio", ",.3g"),
)


def run(evaluation: Evaluation, tokenizer: Tokenizer) -> Findings:
    """Measures mean probabilities over all predicted positions, in the float model and without its super weights."""
    known, unknown = single_tokens(tokenizer)
    zeroed = scaled(evaluation.weights, places_of(evaluation.coordinates), 0)
    before = _mean_probabilities(evaluation, evaluation.float, 0)
    after = _mean_probabilities(evaluation, Condition("super weights zeroed", zeroed, evaluation.first), 1)
    following, counts = np.unique(evaluation.ids[:, 1:], return_counts=True)
    share = np.zeros(len(before))
    share[following] = counts / evaluation.positions

    def row(name: str, kind: str, tokens: list[int]) -> Row:
        old, new = float(before[tokens].sum()), float(after[tokens].sum())
        ratio = new / old if old else float("inf")
        return {"condition": name, "kind": kind, "share": float(share[tokens].sum()), "float": old, "removed": new} | {
            "ratio": ratio
        }

    rows = [row(repr(word), "stop word", [token]) for word, token in known.items()]
    rows.append(row("all of these", "sum", list(known.values())))
    raised = [int(token) for token in np.argsort(before - after)[:RAISED]]
    rows += [row(f"{tokenizer.decode([token], special=True)!r}, raised most", "raised", [token]) for token in raised]
    split = ", ".join(repr(word) for word in unknown)
    notes = (f"Left out, because this tokenizer splits them: {split}.",) if unknown else ()
    return Findings(COLUMNS, tuple(rows), notes)


def single_tokens(tokenizer: Tokenizer) -> tuple[dict[str, int], list[str]]:
    """The WORDS that are one token after other text, with that token, and the WORDS that are not.

    After other text, because some tokenizers put a space before the first word of a text.
    """
    before = tokenizer.encode("x", add_special_tokens=False)
    known: dict[str, int] = {}
    unknown = []
    for word in WORDS:
        ids = tokenizer.encode(f"x{word}", add_special_tokens=False)
        if ids[: len(before)] == before and len(ids) == len(before) + 1 and ids[-1] not in known.values():
            known[word] = ids[-1]
        else:
            unknown.append(word)
    return known, unknown


def _mean_probabilities(evaluation: Evaluation, condition: Condition, index: int) -> np.ndarray:
    """The mean probability of each token over all predicted positions, float64 (vocabulary,)."""
    layers = evaluation.spec.layers
    total = torch.zeros(evaluation.spec.vocab_size, dtype=torch.float64)
    for logits in evaluation.logits(
        condition,
        lambda layer: evaluation.progress(
            "stopwords", f"{condition.name}, layer {layer}", index * layers + layer, 2 * layers
        ),
    ):
        total += torch.softmax(logits[:-1], -1).double().sum(0)
    return (total / evaluation.positions).numpy()
