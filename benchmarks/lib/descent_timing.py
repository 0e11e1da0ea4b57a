"""Error compensation timed on one core: processor time per weight, and the error against that of the plain fit."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.lib.model import open_model, windows_of
from benchmarks.lib.printing import say, table, versions
from edgesw.compress import threads
from edgesw.compress.block_scheme import BlockScheme
from edgesw.compress.compensate import Hessian, compensate
from edgesw.compress.compression import compress_matrix
from edgesw.compress.palette_scheme import PaletteScheme
from edgesw.compress.scheme import Scheme
from edgesw.decoder.decoder import decoder_layer
from edgesw.runtime.torch import TorchOps
from edgesw.text.texts import shipped_text

LAYER = 5
NAMES = ("gate_proj", "down_proj")
WINDOWS = 32
SCHEMES = (
    BlockScheme(4, 32, True),
    BlockScheme(4, 64, True),
    PaletteScheme(4, 16),
    PaletteScheme(3, 16),
    PaletteScheme(3, 128, 2),
)
QUICK_SCHEMES = (SCHEMES[0], SCHEMES[2])
# Rows and columns. The second has rows for one tile only, and what is done once for a matrix counts as if it had 4,096.
RANDOM = ((4096, 4096), (1024, 14336))
FULL_ROWS = 4096
TOKENS = 4096
OUTLIERS = 6
# Matrices of a layer of a 7B decoder, by their columns, in weights: query, output, key, value, gate and up; down.
SEVEN_B = {4096: (2 * 4096 + 2 * 1024 + 2 * 14336) * 4096, 14336: 4096 * 14336}
COLUMNS = ("columns", "scheme", "µs a weight", "with bfloat16 products", "error left", "with bfloat16 products")
NOTES = (
    "Microseconds of processor time per weight, on one core.",
    "error left: that of the product, tr((W - Q) H (W - Q)^T), relative to the fit that knows only the diagonal of H.",
    f"Of {RANDOM[1][1]:,} columns {RANDOM[1][0]:,} rows are measured; what is done once counts as for {FULL_ROWS:,}.",
)


@dataclass(frozen=True)
class Case:
    """A matrix and the second moments of its input."""

    weights: np.ndarray
    hessian: np.ndarray


@dataclass(frozen=True)
class Result:
    """Microseconds a weight, and the error left."""

    time: float
    error: float


def run(model: str, quick: bool) -> None:
    """Prints the table, and the time of a layer of 7B that follows from it."""
    threads.limit_cores(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rows, times = [], dict[tuple[str, bool], dict[int, float]]()
    for case in _cases(model, quick):
        for scheme in QUICK_SCHEMES if quick else SCHEMES:
            columns = case.weights.shape[1]
            say(f"{columns} columns, {scheme}")
            both = _measured(case, scheme)
            for at, result in enumerate(both):
                times.setdefault((scheme.text(), bool(at)), {})[columns] = result.time
            rows.append(
                (
                    f"{columns:,}",
                    str(scheme),
                    *(f"{each.time:.2f}" for each in both),
                    *(f"{each.error:.4f}" for each in both),
                )
            )
    print(versions("numpy", "torch", "numba"))
    print(table(COLUMNS, rows, left=2), "", *NOTES, sep="\n")
    for (scheme_text, bfloat16), by_columns in times.items():
        if SEVEN_B.keys() <= by_columns.keys():
            seconds = sum(by_columns[columns] * weights / 1e6 for columns, weights in SEVEN_B.items())
            what = "bfloat16" if bfloat16 else "float32"
            print(f"A layer of 7B's shape, {scheme_text}, {what} products: {seconds:.0f} s.")


def _cases(model: str, quick: bool) -> Iterator[Case]:
    checkpoint, tokenizer = open_model(model)
    ids = windows_of(shipped_text("calibration"), checkpoint, tokenizer, WINDOWS)
    inputs: dict[str, torch.Tensor] = {}

    def observe(name: str, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> None:
        if name in names:
            inputs[name] = x.flatten(0, -2)

    names = [f"layers.{LAYER}.{name}" for name in NAMES]
    ops = TorchOps(checkpoint.spec, checkpoint, ids, observe)
    with torch.inference_mode():
        x = ops.embedding("embed_tokens")
        for layer in range(LAYER + 1):
            x = decoder_layer(ops, layer, x)
    for name in names:
        yield _case(checkpoint.tensor(name), inputs.pop(name).numpy())
    for rows, columns in RANDOM[: 1 if quick else 2]:
        yield _random(rows, columns)


def _random(rows: int, columns: int) -> Case:
    """Inputs with an eighth of the columns in common directions, and outlier channels."""
    rng = np.random.default_rng(0)
    shared = columns // 8
    power = np.arange(1, shared + 1, dtype=np.float32) ** -0.5
    common = rng.standard_normal((TOKENS, shared), np.float32) * power / np.sqrt(np.square(power).mean())
    x = common @ rng.standard_normal((shared, columns), np.float32) / np.float32(np.sqrt(shared))
    x += np.float32(0.7) * rng.standard_normal((TOKENS, columns), np.float32)
    sizes = rng.lognormal(0, 0.5, columns).astype(np.float32)
    sizes[rng.permutation(columns)[:OUTLIERS]] *= 30
    weights = rng.standard_normal((rows, columns), np.float32) * rng.lognormal(-4, 0.3, (rows, 1)).astype(np.float32)
    return _case(weights, x * sizes)


def _case(weights: np.ndarray, x: np.ndarray) -> Case:
    own = x.T @ x / len(x)
    return Case(weights, Hessian(own, own, len(x)).damped)


def _measured(case: Case, scheme: Scheme) -> list[Result]:
    """With products in float32, and in bfloat16."""
    start = compress_matrix(case.weights, scheme, np.diagonal(case.hessian))
    few = slice(0, max(scheme.shared_rows, 4))
    small = compress_matrix(case.weights[few], scheme, np.diagonal(case.hessian))
    first = _error(case, start.dequantize())
    results = []
    for products in (torch.float32, torch.bfloat16):
        before = time.process_time()
        compensate(case.weights[few], case.hessian, small, products=products)  # compiles, or loads what was compiled
        loaded = time.process_time()
        compensate(case.weights[few], case.hessian, small, products=products)
        once = time.process_time() - loaded
        begun = time.process_time()
        made = compensate(case.weights, case.hessian, start, products=products)
        taken = time.process_time() - begun
        say(f"  compiled in {loaded - before:.1f} s, a few rows in {once:.1f} s, all in {taken:.1f} s")
        rows, columns = case.weights.shape
        if columns == RANDOM[1][1]:
            taken = (taken - once) * FULL_ROWS / rows + once
            rows = FULL_ROWS
        results.append(Result(taken * 1e6 / (rows * columns), _error(case, made.dequantize()) / first))
    return results


def _error(case: Case, made: np.ndarray) -> float:
    off = case.weights - made
    return float(np.einsum("rc,rc->", off @ case.hessian.astype(np.float32), off, dtype=np.float64))
