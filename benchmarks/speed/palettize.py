"""Palette searches of edgesw, coremltools, kmeans1d and scikit-learn on the same matrices, on one core.

Matrices of the model, and 4096 x 14336 bfloat16 normals with outliers; 1 to 8 bits; palettes for 8, 16, 32 or all rows.
Slow methods get the first rows only. Then what a second core gains. With --quick, 4 bits and fewer matrices.
"""

from __future__ import annotations

import argparse
import os

from benchmarks.lib.arguments import add_model
from benchmarks.lib.benchmark import Benchmark, Section

BENCHMARK = Benchmark(
    "Speed and squared error of the palette search compared with other k-means (--quick: 2 minutes).",
    minutes=60,
    docs=(Section("docs/compression.md", "Speed of the palette search"),),
)
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="4 bits, fewer matrices and groups: 2 minutes")
    add_model(parser)


def main(given: argparse.Namespace) -> None:
    os.environ.update(dict.fromkeys(THREADS, "1"))  # read when numpy, torch and numba are first imported, which is here
    from benchmarks.lib.palette_timing import run

    run(given.model, given.quick)
