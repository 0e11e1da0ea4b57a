"""samplers.json: what transformers' logits processors keep, and which tokens are then drawn with `random.Random`.

Logits are made from a seed in Swift too, so that vocabularies of a real model's size fit into the file.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

SIZES = (2, 7, 50, 50, 50, 50, 50, 320)
LARGE = (49_152, 151_936, 262_144)
DRAWS = 8
MOST_TOLD = 320


def make(folder: Path) -> None:
    """Write samplers.json to `folder`."""
    choose = random.Random(7)
    cases = [_case(choose, size) for _ in range(40) for size in SIZES]
    cases += [_case(choose, size) for _ in range(2) for size in LARGE]
    content = {
        "random": [_numbers(seed) for seed in (0, 1, 42, 2**32 - 1, 2**32, 2**63 + 5, 2**64 - 1)],
        "cases": cases,
    }
    (folder / "samplers.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")


def _numbers(seed: int) -> dict[str, Any]:
    """The first numbers, and one far beyond the first block of 624 words."""
    source = random.Random(seed)
    numbers = [source.random() for _ in range(1000)]
    return {"seed": str(seed), "numbers": numbers[:5], "thousandth": numbers[-1]}


def _logits(seed: int, size: int, spread: float, step: float) -> np.ndarray:
    """float32 (size,): sums of three evenly spread numbers, rounded to `step` where it is not 0, which makes ties."""
    source = random.Random(seed)
    values = np.array([spread * (source.random() + source.random() + source.random() - 1.5) for _ in range(size)])
    return (np.floor(values / step + 0.5) * step if step else values).astype(np.float32)


def _case(choose: random.Random, size: int) -> dict[str, Any]:
    ties = choose.random() < 0.2
    options: dict[str, Any] = {"temperature": choose.choice([0.1, 0.7, 1.0, 1.0, 1.5, 4.0])}
    if choose.random() < 0.15:
        options["temperature"] = 0.0
    if choose.random() < 0.4:
        options["top_k"] = choose.choice([1, 2, 5, 40, 1000])
    if choose.random() < 0.5 and not ties:  # which of several alike top-p keeps, transformers leaves to the sort
        options["top_p"] = choose.choice([0.0, 0.1, 0.5, 0.9, 0.95, 0.999, 1.0])
    if choose.random() < 0.4:
        options["min_p"] = choose.choice([0.0, 0.01, 0.05, 0.3, 1.0])
    if choose.random() < 0.4:
        options["repetition_penalty"] = choose.choice([0.8, 1.1, 1.3, 2.0])
    made = {
        "seed": choose.randrange(2**32),
        "size": size,
        "spread": choose.choice([2.0, 8.0, 40.0]),
        "step": 0.5 * ties,
    }
    tokens = [choose.randrange(size + 3) for _ in range(choose.choice([0, 1, 12]))]
    scores = torch.from_numpy(_logits(**made)).double()[None]
    kept = _processors(options)(torch.tensor([tokens], dtype=torch.long), scores)[0]
    seed = choose.randrange(2**64)
    case = {"logits": made, "options": {**options, "seed": str(seed)}, "tokens": tokens}
    if options["temperature"] == 0:
        return {**case, "drawn": [int(kept.numpy().argmax())] * DRAWS}
    weights = kept.softmax(-1).numpy()
    ids = np.flatnonzero(kept.numpy() > -np.inf)
    sums, source = np.cumsum(weights), random.Random(seed)
    drawn = [int(np.searchsorted(sums, source.random() * sums[-1], side="right")) for _ in range(DRAWS)]
    told = {"ids": ids.tolist(), "weights": weights[ids].tolist()} if len(ids) <= MOST_TOLD else {}
    return {**case, "drawn": drawn, "count": len(ids), "sum": int(ids.sum()), **told}


def _processors(options: dict[str, Any]) -> LogitsProcessorList:
    """In the order of transformers' `_get_logits_processor`."""
    made = LogitsProcessorList()
    if "repetition_penalty" in options:
        made.append(RepetitionPenaltyLogitsProcessor(options["repetition_penalty"]))
    if options["temperature"] > 0:
        made.append(TemperatureLogitsWarper(options["temperature"]))
        if "top_k" in options:
            made.append(TopKLogitsWarper(options["top_k"]))
        if "top_p" in options:
            made.append(TopPLogitsWarper(options["top_p"]))
        if "min_p" in options:
            made.append(MinPLogitsWarper(options["min_p"]))
    return made
