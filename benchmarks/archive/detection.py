"""Closed: does detection find the same super weights for other prompts, with BOS and without, in float32 and bfloat16?

It does, on SmolLM2-135M: the same set in all 20 runs. docs/detection.md has the answer in "First look: effect on the
prompt".
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.lib.arguments import add_model
from benchmarks.lib.benchmark import Benchmark, Section
from benchmarks.lib.model import open_model
from benchmarks.lib.printing import say, table, versions
from edgesw.outliers.detect import detect
from edgesw.outliers.results import SuperOutliers

BENCHMARK = Benchmark(
    "Whether detection finds the same super weights for other prompts, without BOS and in bfloat16.",
    minutes=10,
    docs=(Section("docs/detection.md", "First look: effect on the prompt"),),
)
PROMPTS = Path(__file__).parents[2] / "tests" / "outliers" / "prompts.txt"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompts", type=Path, default=PROMPTS, metavar="FILE", help="one per line")
    parser.add_argument("--dtype", choices=DTYPES, action="append", help="only these; repeatable")
    add_model(parser)


def main(given: argparse.Namespace) -> None:
    checkpoint, tokenizer = open_model(given.model)
    prompts = given.prompts.read_text(encoding="utf-8").splitlines()
    rows, sets = [], set()
    for dtype in given.dtype or DTYPES:
        for number, prompt in enumerate(prompts, start=1):
            for bos in (False, True):
                start = time.process_time()
                before = [tokenizer.bos_id] if bos and tokenizer.bos_id is not None else []
                ids = np.array([*before, *tokenizer.encode(prompt, add_special_tokens=False)])
                found = detect(checkpoint.spec, checkpoint, ids, dtype=DTYPES[dtype])
                seconds = time.process_time() - start
                sets.add(tuple(sorted(weight.coordinates for weight in found.super_weights)))
                rows.append([dtype, str(number), "yes" if bos else "no", *_cells(found), f"{seconds:.1f}"])
                say(" ".join(rows[-1]))
    heads = ("dtype", "prompt", "BOS", "super weights", "KL all", "KL null", "lowest margin", "others", "CPU s")
    print(table(heads, rows, left=4), end="\n\n")
    print(f"Different sets: {len(sets)}. {versions('torch')}")


def _cells(found: SuperOutliers) -> list[str]:
    """Coordinates; effects of all and null; lowest margin; highest margin of spikes that are not super weights."""
    effects = [weight.effect for weight in found.super_weights if weight.effect]
    ruled_out = [candidate for candidate in found.rejected if candidate.effect and "times its null" in candidate.why]
    others = [candidate.effect.margin for candidate in (*ruled_out, *found.cancelling) if candidate.effect]
    return [
        " ".join(str(list(weight.coordinates)) for weight in found.super_weights) or "none",
        f"{max((effect.joint for effect in effects), default=0):.2f}",
        f"{max((effect.null for effect in effects), default=0):.3f}",
        f"{min((effect.margin for effect in effects), default=0):,.0f}",
        f"{max(others, default=0):.1f}",
    ]
