"""Detection on a real model: the same set for other prompts, with BOS and without, in float32 and in bfloat16?"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from printing import say, table, versions

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.outliers.detect import detect
from edgesw.outliers.results import SuperOutliers
from edgesw.text.tokenizer import Tokenizer

PROMPTS = Path(__file__).parents[1] / "tests" / "outliers" / "prompts.txt"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--prompts", type=Path, default=PROMPTS, help="one a line")
    parser.add_argument("--dtype", choices=DTYPES, action="append", help="only these; repeatable")
    options = parser.parse_args(arguments)
    checkpoint = open_checkpoint(options.model)
    tokenizer = Tokenizer.from_files(checkpoint.tokenizer_files(), options.model)
    prompts = options.prompts.read_text(encoding="utf-8").splitlines()
    rows, sets = [], set()
    for dtype in options.dtype or DTYPES:
        for number, prompt in enumerate(prompts, start=1):
            for bos in (False, True):
                start = time.process_time()
                ids = np.array(tokenizer.encode(prompt, bos=bos))
                found = detect(checkpoint.spec, checkpoint, ids, dtype=DTYPES[dtype])
                seconds = time.process_time() - start
                sets.add(tuple(sorted(weight.coordinates for weight in found.super_weights)))
                rows.append([dtype, str(number), "yes" if bos else "no", *_cells(found), f"{seconds:.1f}"])
                say(" ".join(rows[-1]))
    heads = ("dtype", "prompt", "BOS", "super weights", "KL all", "KL null", "lowest margin", "others", "CPU s")
    print(table(heads, rows, left=4), end="\n\n")
    print(f"Different sets: {len(sets)}. {versions('torch')}")


def _cells(found: SuperOutliers) -> list[str]:
    """Coordinates; effects of all and null; margin of the least; highest margin of what makes a spike and is none."""
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


if __name__ == "__main__":
    main()
