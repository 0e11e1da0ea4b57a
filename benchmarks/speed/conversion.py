"""The cost of `edgesw convert` to each target and to both, compared with the forecast of --dry-run, and of detection.

Each command runs in a process of its own, and a second table has time and memory stage by stage. Times depend on the
machine and on what else it does: compare ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.lib.arguments import add_model
from benchmarks.lib.benchmark import Benchmark, Section
from benchmarks.lib.command import EDGESW, Run, measured
from benchmarks.lib.printing import megabytes, table, versions

BENCHMARK = Benchmark(
    "Time, memory and size of `edgesw convert` compared with its own forecast, and the cost of `edgesw detect`.",
    minutes=15,
    docs=(Section("docs/speed.md", "Conversion of SmolLM2-135M"),),
)
TARGETS = (("coreml",), ("onnx",), ("coreml", "onnx"))
COLUMNS = (
    "edgesw", "wall, s", "CPU, s", "peak", "forecast", "peak / forecast", "output", "forecast", "output / forecast",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)


def main(given: argparse.Namespace) -> None:
    detect = measured("detect", "detect", given.model)
    runs, forecasts = [], []
    for targets in TARGETS:
        options = [part for target in targets for part in ("--target", target)]
        forecasts.append(forecast(given.model, options))
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "package"
            title = f"convert, {' + '.join(targets)}"
            runs.append(measured(title, "convert", given.model, *options, "-o", str(output), output=output))
    print(f"{given.model}, default settings. {os.cpu_count()} cores.")
    print(f"{versions('coremltools', 'onnx', 'numpy', 'torch')}.\n")
    print(_table(detect, runs, forecasts), end="\n\n")
    print("Peak is resident memory, libraries included; forecast is what `edgesw convert --dry-run` says.\n")
    columns = ("stage", *(f"{run.title}: s" if unit == "s" else "peak so far" for run in runs for unit in ("s", "MB")))
    print(table(columns, _stage_rows(runs)))


def forecast(model: str, options: list[str]) -> dict[str, Any]:
    """What --dry-run says that a conversion will write and need."""
    command = [*EDGESW, "convert", model, *options, "--dry-run", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(done.returncode)  # edgesw has printed why
    return dict(json.loads(done.stdout))


def _table(detect: Run, runs: list[Run], forecasts: list[dict[str, Any]]) -> str:
    rows: list[tuple[str, ...]] = [(*_figures(detect), "", "", "", "", "")]
    for run, said in zip(runs, forecasts, strict=True):
        memory, size = said["memory_bytes"], said["output_bytes"]
        rows.append(
            (
                *_figures(run),
                *(megabytes(memory), f"{run.peak / memory:.2f}"),
                *(megabytes(run.written), megabytes(size), f"{run.written / size:.2f}"),
            )
        )
    return table(COLUMNS, rows)


def _figures(run: Run) -> tuple[str, str, str, str]:
    return run.title, f"{run.wall:.0f}", f"{run.cpu:.0f}", megabytes(run.peak)


def _stage_rows(runs: list[Run]) -> list[tuple[str, ...]]:
    """A row for each stage of any run; the first covers imports and opening the model."""
    names = dict.fromkeys(stage.name for run in reversed(runs) for stage in run.stages)
    rows = []
    for name in names:
        cells: list[str] = []
        for run in runs:
            found = next((stage for stage in run.stages if stage.name == name), None)
            cells += ["", ""] if found is None else [f"{found.seconds:.0f}", megabytes(found.peak)]
        rows.append((name, *cells))
    return rows
