"""Time, peak memory and output size of `edgesw convert` beside what its --dry-run forecast, and of `edgesw detect`.

    python benchmarks/conversion.py [--model smollm2-135m]

Imports nothing large: a child starts as a copy of this process, and the kernel counts that in the child's peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from printing import megabytes, say, table, versions
from stages import Stage, peak_bytes

EDGESW = (sys.executable, "-c", "from edgesw.cli import main; main()")
TARGETS = (("coreml",), ("onnx",), ("coreml", "onnx"))


@dataclass(frozen=True)
class Run:
    """One command in a process of its own: seconds of wall and processor time, peak bytes, bytes written, stages."""

    title: str
    wall: float
    cpu: float
    peak: int
    written: int
    stages: list[Stage]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="smollm2-135m", help="what edgesw convert takes (default: smollm2-135m)")
    model = parser.parse_args().model
    detect = measured("detect", "detect", model)
    runs, forecasts = [], []
    for targets in TARGETS:
        options = [part for target in targets for part in ("--target", target)]
        forecasts.append(forecast(model, options))
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "package"
            title = f"convert, {' + '.join(targets)}"
            runs.append(measured(title, "convert", model, *options, "-o", str(output), output=output))
    print(f"{model}, settings as they are by default. {os.cpu_count()} cores.")
    print(f"{versions('coremltools', 'onnx', 'numpy', 'torch')}.\n")
    print(_table(detect, runs, forecasts), end="\n\n")
    print("Peak is resident memory, libraries included; forecast is what `edgesw convert --dry-run` says.\n")
    columns = ("stage", *(f"{run.title}: s" if unit == "s" else "peak so far" for run in runs for unit in ("s", "MB")))
    print(table(columns, _stage_rows(runs)))


def forecast(model: str, options: list[str]) -> dict[str, Any]:
    """What --dry-run says a conversion will write and need."""
    command = [*EDGESW, "convert", model, *options, "--dry-run", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(done.returncode)  # edgesw has said why
    return dict(json.loads(done.stdout))


def measured(title: str, *arguments: str, output: Path | None = None) -> Run:
    """Run `edgesw` with `arguments` and measure it; bytes are counted below `output`. Exits when it fails."""
    say(title)
    clock = Path(__file__).with_name("stages.py")
    with tempfile.TemporaryDirectory() as folder:
        stages = Path(folder) / "stages.json"
        started = time.monotonic()
        child = subprocess.Popen([sys.executable, str(clock), str(stages), *arguments], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(child.returncode)
        timed = [Stage(**stage) for stage in json.loads(stages.read_text())]
    # The clock is started by a process that is already running.
    timed[0] = replace(timed[0], seconds=timed[0].seconds + wall - sum(stage.seconds for stage in timed))
    written = sum(file.stat().st_size for file in output.rglob("*") if file.is_file()) if output else 0
    return Run(title, wall, usage.ru_utime + usage.ru_stime, peak_bytes(usage), written, timed)


def _table(detect: Run, runs: list[Run], forecasts: list[dict[str, Any]]) -> str:
    columns = (
        "edgesw",
        "wall, s",
        "CPU, s",
        "peak",
        "forecast",
        "peak / forecast",
        "output",
        "forecast",
        "output / forecast",
    )
    rows = [(*_figures(detect), "", "", "", "", "")]
    for run, said in zip(runs, forecasts, strict=True):
        memory, size = said["memory_bytes"], said["output_bytes"]
        rows.append(
            (
                *_figures(run),
                *(megabytes(memory), f"{run.peak / memory:.2f}"),
                *(megabytes(run.written), megabytes(size), f"{run.written / size:.2f}"),
            )
        )
    return table(columns, rows)


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


if __name__ == "__main__":
    main()
