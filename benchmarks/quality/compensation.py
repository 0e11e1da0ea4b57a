"""Error compensation by the windows of text that it reads, and in float32 beside bfloat16: divergence and time.

The layers' matrices as a conversion compresses them, simulated; embedding and head stay float. Divergence is measured
on a text and on the validation text that ships. Processor time is that of compressing the layers.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import torch

from benchmarks.lib.arguments import add_model, add_text
from benchmarks.lib.benchmark import Benchmark, Section
from benchmarks.lib.model import described, open_model, windows_of
from benchmarks.lib.numerics import Mixed, SimulatedDecoder, float_ends
from benchmarks.lib.printing import Stages, say, table, versions
from benchmarks.lib.rows import core_ml_plan
from edgesw.calibration.calibrate import Calibration, calibrate, spread
from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.plan import CompressionPlan
from edgesw.conversion.convert import compressed_decoder
from edgesw.conversion.hold_out import find_super_weights
from edgesw.conversion.settings import Settings
from edgesw.runtime.torch import FloatLogits
from edgesw.text.texts import load_text, shipped_text
from edgesw.validation.measure import measure

BENCHMARK = Benchmark(
    "KL divergence and processor time of error compensation on 4 to 64 windows, in bfloat16 and float32.",
    minutes=30,
    docs=(Section("docs/compression.md", "Error compensation"),),
)
TYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
COLUMNS = ("windows", "products", "CPU s", "ms per million weights", "KL, text", "KL, shipped text")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_text(parser, 8)
    add_model(parser)
    parser.add_argument("--bits", type=float, default=4, help="code bits per weight (4)")
    parser.add_argument("--scheme", choices=("block", "palette"), help="as for edgesw convert")
    parser.add_argument("--counts", type=int, nargs="+", default=[0, 4, 8, 16, 32, 64], help="windows; 0: without")
    parser.add_argument("--products", nargs="+", choices=TYPES, default=["bfloat16"], help="types (bfloat16)")


def main(given: argparse.Namespace) -> None:
    checkpoint, tokenizer = open_model(given.model)
    text, own = load_text(given.text), shipped_text("validation")
    super_weights = find_super_weights(checkpoint, tokenizer, Stages())
    calibration = calibrate(checkpoint, tokenizer, shipped_text("calibration"), Stages(), effort="best")
    hold_out = super_weights.hold_out(calibration.mean_squares)
    plan = core_ml_plan(checkpoint.spec, Settings(("coreml",), bits=given.bits, scheme=given.scheme))
    each = [windows_of(one, checkpoint, tokenizer, given.windows) for one in (text, own)]
    rows = []
    for name in given.products:
        for count in given.counts:
            say(f"{name}, {count} windows")
            rows.append(_row(checkpoint, plan, calibration, hold_out, each, TYPES[name], count))
    print(described(given.model, checkpoint, f"{text.name} and the validation text that ships", each[0]))
    print(f"{plan.summary}; embedding and head float. {versions('numpy', 'torch')}.\n")
    print(table(COLUMNS, rows, left=2))


def _row(
    checkpoint: Checkpoint,
    plan: CompressionPlan,
    calibration: Calibration,
    hold_out: HoldOut,
    texts: list[np.ndarray],
    products: torch.dtype,
    count: int,
) -> tuple[str, ...]:
    spec, every = checkpoint.spec, calibration.ids
    assert every is not None
    ids = spread(every, count)
    read = replace(calibration, ids=ids if count else None, products=products)
    decoder = compressed_decoder(checkpoint, plan, read, hold_out)
    began = time.process_time()
    made = {name: decoder.matrix(name).dequantize() for name in spec.matrices()}
    took = time.process_time() - began
    weights = Mixed(checkpoint, frozenset(made), made.__getitem__, float_ends(checkpoint))
    found = []
    for measured in texts:
        simulated = SimulatedDecoder(FloatLogits(spec, weights, measured))
        *_, (agreement,) = measure(measured, FloatLogits(spec, checkpoint, measured), [simulated])
        found.append(agreement.kl_divergence)
    count_text, name = str(len(ids) if count else 0), next(key for key, value in TYPES.items() if value == products)
    per_million = 1e9 * took / sum(matrix.size for matrix in made.values())
    return (count_text, name if count else "", f"{took:.0f}", f"{per_million:.0f}", *(f"{kl:.4f}" for kl in found))
