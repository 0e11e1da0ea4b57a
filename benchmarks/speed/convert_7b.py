"""Conversion of a model of Mistral 7B's shape: time, disk and memory of each stage, and whether the result is right.

Random weights with a super weight planted. The ONNX package is then validated, measured in the same way, and
coremltools reads the Core ML package back: the first and last layer's matrices must be what was compressed. Needs
14.5 GB of disk for the checkpoint of 32 layers and another 24 GB to convert it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.lib.arguments import at_least
from benchmarks.lib.benchmark import Benchmark, Section
from benchmarks.lib.command import Run, measured
from benchmarks.lib.printing import megabytes, say, table, versions

BENCHMARK = Benchmark(
    "Time, memory and disk traffic, stage by stage, of converting and validating a model of Mistral 7B's shape.",
    minutes=30,
    docs=(
        Section("docs/speed.md", "Conversion of a checkpoint of Mistral 7B's shape"),
        Section("docs/speed.md", "Validation at these sizes"),
    ),
)
OPTIONS = ("--target", "coreml", "--target", "onnx", "--bits", "4")
COLUMNS = ("stage", "wall, s", "own memory", "mapped files", "read", "written")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    # The super weight is in the second layer, and something must come after it.
    parser.add_argument("--layers", type=at_least(3), default=32, help="of Mistral 7B's 32 (32)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep the checkpoint here, and use it again")
    parser.add_argument("--workers", type=at_least(1), default=1, help="processes that compress (1)")


def main(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.folder or Path(scratch)) / f"mistral-shape-{given.layers}"
        run(folder, given.layers, given.workers, Path(scratch) / "package")


def run(folder: Path, layers: int, workers: int, output: Path) -> None:
    """Makes the checkpoint unless it exists, converts it, and checks the package."""
    if not (folder / "config.json").exists():  # in a process of its own, as torch is large
        folder.mkdir(parents=True, exist_ok=True)
        command = (sys.executable, "-m", "benchmarks.lib.mistral_shape", str(folder), str(layers))
        subprocess.run(command, check=True)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    options = (*OPTIONS, "--workers", str(workers))
    made = measured("convert", "convert", str(folder), *options, "-o", str(output), output=output)
    print(f"Mistral 7B's shape, {layers} layers, random bfloat16 weights, {size / 1e9:.1f} GB; {' '.join(options)}.")
    print(f"{os.cpu_count()} cores. {versions('coremltools', 'onnx', 'numpy', 'torch')}.\n")
    print(table(COLUMNS, _rows(made)), end="\n\n")
    weights = json.loads((output / "manifest.json").read_text())["super_weights"]
    print(f"Held out: {', '.join(map(_place, weights))}. Written: {made.written / 1e9:.2f} GB.")
    # The perplexity of random weights means nothing, so any increase will do: what counts is the memory.
    against = ("--target", "onnx", "--against", str(folder), "--windows", "1", "--tokens", "128")
    checked = measured("validate", "validate", str(output), *against, "--max-perplexity-increase", "1000%")
    print(f"\nThe ONNX model validated on a window of 128 tokens:\n\n{table(COLUMNS, _rows(checked))}", end="\n\n")
    say("reading the package back")
    from benchmarks.lib.read_back import read_back

    print(read_back(folder, output))


def _rows(made: Run) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        (
            stage.name,
            f"{stage.seconds:.0f}",
            *(megabytes(amount) for amount in (stage.anonymous, stage.mapped, stage.read, stage.written)),
        )
        for stage in made.stages
    ]
    peaks = (max(stage.anonymous for stage in made.stages), max(stage.mapped for stage in made.stages))
    sums = (sum(stage.read for stage in made.stages), sum(stage.written for stage in made.stages))
    return [*rows, ("all", f"{made.wall:.0f}", *map(megabytes, (*peaks, *sums)))]


def _place(weight: dict[str, float]) -> str:
    return f"layer {weight['layer']} [{weight['row']}, {weight['column']}] = {weight['value']:g}"
