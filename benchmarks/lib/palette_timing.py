"""Palette searches compared on the same matrices: processor time per million weights, and squared error."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.lib.printing import say, table, versions
from benchmarks.peers.palettizers import EDGESW, PALETTIZERS, Palettizer
from edgesw.checkpoint.checkpoint import open_checkpoint

BITS, GROUPS = (1, 2, 3, 4, 6, 8), (8, 16, 32, 0)
QUICK_BITS, QUICK_GROUPS = (4,), (16, 32, 0)
NAMES = ("layers.11.down_proj", "layers.5.k_proj", "layers.20.gate_proj")
LARGE = "normals 4096 x 14336"
COLUMNS = ("matrix", "bits", "palettes", "method", "rows", "s per M weights", "times edgesw", "error / edgesw - 1")
NOTES = (
    "Seconds of processor time per million weights, for palettes and codes: the fastest of interleaved runs.",
    "All methods get the same matrices, rounded to 16 bits. Entries are rounded to float16, as packages store them.",
    "rows: slow methods get the first rows only; edgesw is measured again on those rows for the comparison.",
    "coremltools passes groups under 10,000 values to scikit-learn; exact: its own, faster k-means takes all.",
    "times edgesw: time relative to edgesw. error / edgesw - 1: below 0 the method is better than edgesw.",
)


@dataclass(frozen=True)
class Matrix:
    title: str
    values: np.ndarray  # float32, each a 16-bit float
    slow_rows: int  # rows for methods that take seconds


@dataclass(frozen=True)
class Result:
    rows: int
    seconds: float  # per million weights
    error: float


def run(model: str, quick: bool) -> None:
    """Compares all searches on one core, then measures what a second core gains, and prints both."""
    logging.disable(logging.INFO)  # coremltools logs each layer
    matrices = [*_small(model, NAMES[:2] if quick else NAMES), _large(256)]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if cores:
        os.sched_setaffinity(0, cores[:1])
    print(f"{versions('coremltools', 'numba', 'numpy', 'torch')}. Load average {os.getloadavg()[0]:.1f}.\n")
    rows = []
    for method in (EDGESW, *PALETTIZERS):  # imports, and compiles what is compiled
        if method.available():
            method.palettize(matrices[0].values[:16], 1, 0)
    for matrix in matrices:
        for bits in QUICK_BITS if quick else BITS:
            for group in QUICK_GROUPS if quick else GROUPS:
                say(f"{matrix.title}, {bits} bits, {_palettes(group)}")
                rows += _compare(matrix, bits, group)
    print(table(COLUMNS, rows, left=4), end="\n\n")
    missing = (f"{method.title} is not installed: left out." for method in PALETTIZERS if not method.available())
    print("\n".join(f"- {note}" for note in (*NOTES, *missing)))
    if len(cores) > 1:
        print(f"\nedgesw, 4 bits, the whole of {LARGE}, wall time:\n")
        print(_second_core(matrices[-1].values, cores))


def _small(model: str, names: tuple[str, ...]) -> list[Matrix]:
    checkpoint = open_checkpoint(model)
    found = [checkpoint.tensor(name).astype(np.float16).astype(np.float32) for name in names]
    return [
        Matrix(f"{name} {len(values)} x {values.shape[1]}", values, 64)
        for name, values in zip(names, found, strict=True)
    ]


def _large(slow_rows: int) -> Matrix:
    """bfloat16 normals, one in a million of them 50 standard deviations out."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((4096, 14336), np.float32) * np.float32(0.02)
    out = rng.integers(0, values.size, values.size // 1_000_000)
    values.ravel()[out] *= 50
    rounded = (values.view(np.uint32) + np.uint32(0x8000)) & np.uint32(0xFFFF0000)
    return Matrix(LARGE, rounded.view(np.float32), slow_rows)


def _compare(matrix: Matrix, bits: int, group: int) -> list[tuple[str, ...]]:
    """A row for each method. edgesw runs on the same rows right before and right after every other method."""
    rows = []
    whole = _run(EDGESW, matrix.values, bits, group, 2)
    rows.append(_cells(matrix, bits, group, EDGESW.title, whole, None))
    for other in PALETTIZERS:
        if not other.available():
            continue
        values = matrix.values[: matrix.slow_rows if other.slow else len(matrix.values)]
        before = _run(EDGESW, values, bits, group, 3)
        theirs = _run(other, values, bits, group, 1)
        after = _run(EDGESW, values, bits, group, 3)
        ours = Result(before.rows, min(before.seconds, after.seconds), before.error)
        rows.append(_cells(matrix, bits, group, other.title, theirs, ours))
    return rows


def _run(method: Palettizer, values: np.ndarray, bits: int, group: int, times: int) -> Result:
    seconds = []
    for _ in range(times):
        start = _processor_time()
        palettes, codes = method.palettize(values, bits, group)
        seconds.append(_processor_time() - start)
    each = group or len(values)
    error = 0.0
    for index, start_row in enumerate(range(0, len(values), each)):  # by groups: a large matrix fits only once
        part = slice(start_row, start_row + each)
        entries = palettes[index].astype(np.float16).astype(np.float32)
        error += float(np.square(entries[codes[part]] - values[part], dtype=np.float32).sum(dtype=np.float64))
    return Result(len(values), min(seconds) * 1e6 / values.size, error)


def _processor_time() -> float:
    """Seconds, those of child processes that have ended included."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def _cells(matrix: Matrix, bits: int, group: int, title: str, result: Result, ours: Result | None) -> tuple[str, ...]:
    times = "" if ours is None else f"{result.seconds / ours.seconds:,.0f}"
    error = "" if ours is None else f"{result.error / ours.error - 1:+.1e}" if ours.error else "both 0"
    return (
        matrix.title,
        str(bits),
        _palettes(group),
        title,
        str(result.rows),
        f"{result.seconds:.4f}",
        times,
        error,
    )


def _palettes(group: int) -> str:
    return f"of {group} rows" if group else "per tensor"


def _second_core(values: np.ndarray, cores: list[int]) -> str:
    """The gain from a second core, three interleaved runs each."""
    rows = []
    for group in (32, 0):
        seconds: dict[int, float] = {}
        for count in (1, 2) * 3:
            os.sched_setaffinity(0, cores[:count])
            start = time.perf_counter()
            EDGESW.palettize(values, 4, group)
            seconds[count] = min(seconds.get(count, np.inf), time.perf_counter() - start)
        speeds = [f"{values.size / 1e6 / seconds[count]:,.0f}" for count in (1, 2)]
        rows.append((_palettes(group), *speeds, f"{seconds[1] / seconds[2]:.2f}"))
    return table(("palettes", "M weights a second, 1 core", "2 cores", "gain"), rows)
