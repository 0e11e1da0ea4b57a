"""samplers.json: the tokens that transformers' logits processors keep, and those drawn from them with SplitMix64.

Swift generates the logits from the same seeds, so that vocabularies of real sizes fit into the file.
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
MOST_LISTED = 320


class SplitMix64:
    """The generator of the Swift side's seeds (Steele, Lea and Flood, 2014)."""

    _MASK = 2**64 - 1

    def __init__(self, seed: int) -> None:
        self._state = seed

    def unit(self) -> float:
        """A number of 53 bits in [0, 1)."""
        return float(self.units(1)[0])

    def units(self, count: int) -> np.ndarray:
        """The next numbers, float64 (count,): the state only counts, so that all are computed at once."""
        step = 0x9E3779B97F4A7C15
        bits = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(step) + np.uint64(self._state)
        self._state = (self._state + count * step) & self._MASK
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
        return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def make(folder: Path) -> None:
    """Writes samplers.json to `folder`."""
    choose = random.Random(7)
    cases = [_case(choose, size) for _ in range(40) for size in SIZES]
    cases += [_case(choose, size) for _ in range(2) for size in LARGE]
    content = {
        "random": [_numbers(seed) for seed in (0, 1, 42, 2**32 - 1, 2**32, 2**63 + 5, 2**64 - 1)],
        "cases": cases,
    }
    (folder / "samplers.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")


def _numbers(seed: int) -> dict[str, Any]:
    """The first numbers, and a later one."""
    numbers = SplitMix64(seed).units(1000).tolist()
    return {"seed": str(seed), "numbers": numbers[:5], "thousandth": numbers[-1]}


def _logits(seed: int, size: int, spread: float, step: float) -> np.ndarray:
    """Returns float32 (size,): sums of three uniform numbers, rounded to multiples of a `step` that is not 0 (ties)."""
    units = SplitMix64(seed).units(3 * size).reshape(size, 3)
    values = spread * (units[:, 0] + units[:, 1] + units[:, 2] - 1.5)
    return (np.floor(values / step + 0.5) * step if step else values).astype(np.float32)


def _case(choose: random.Random, size: int) -> dict[str, Any]:
    ties = choose.random() < 0.2
    options: dict[str, Any] = {"temperature": choose.choice([0.1, 0.7, 1.0, 1.0, 1.5, 4.0])}
    if choose.random() < 0.15:
        options["temperature"] = 0.0
    if choose.random() < 0.4:
        options["top_k"] = choose.choice([1, 2, 5, 40, 1000])
    if choose.random() < 0.5 and not ties:  # transformers' top-p leaves the order of ties to the sort
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
    sums, source = np.cumsum(weights), SplitMix64(seed)
    drawn = [int(np.searchsorted(sums, source.unit() * sums[-1], side="right")) for _ in range(DRAWS)]
    listed = {"ids": ids.tolist(), "weights": weights[ids].tolist()} if len(ids) <= MOST_LISTED else {}
    return {**case, "drawn": drawn, "count": len(ids), "sum": int(ids.sum()), **listed}


def _processors(options: dict[str, Any]) -> LogitsProcessorList:
    """The processors of these options, in the order of transformers' `_get_logits_processor`."""
    made = LogitsProcessorList()
    if "repetition_penalty" in options:
        made.append(RepetitionPenaltyLogitsProcessor(options["repetition_penalty"]))
    if options["temperature"] > 0:
        made.append(TemperatureLogitsWarper(options["temperature"]))
        if "top_k" in options:
            made.append(TopKLogitsWarper(options["top_k"]))
        if options.get("top_p", 1.0) < 1.0:  # as there: at 1 nothing is removed
            made.append(TopPLogitsWarper(options["top_p"]))
        if "min_p" in options:
            made.append(MinPLogitsWarper(options["min_p"]))
    return made
