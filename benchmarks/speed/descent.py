"""Error compensation on one core: processor time per weight, and what is left of the error.

Matrices of the model with the inputs of its calibration text, and random ones of 4,096 and 14,336 columns, whose inputs
are correlated and have outlier channels. With --quick, fewer schemes and no matrix of 14,336 columns.
"""

from __future__ import annotations

import argparse
import os

from benchmarks.lib.arguments import add_model
from benchmarks.lib.benchmark import Benchmark, Section

BENCHMARK = Benchmark(
    "Speed of error compensation on one core, and the error that is left (--quick: 2 minutes).",
    minutes=6,
    docs=(Section("docs/compression.md", "Speed of error compensation"),),
)
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="fewer schemes, no 14,336 columns: 2 minutes")
    add_model(parser)


def main(given: argparse.Namespace) -> None:
    os.environ.update(dict.fromkeys(THREADS, "1"))  # read when numpy, torch and numba are first imported, which is here
    from benchmarks.lib.descent_timing import run

    run(given.model, given.quick)
