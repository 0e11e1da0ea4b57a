"""Conversion of a checkpoint of Mistral 7B's shape: time, disk and memory of each stage, and whether it is right.

    python benchmarks/convert_7b.py [--layers 32] [--folder DIR] [--workers N]

Random weights with a super weight planted; 14.5 GB for 32 layers, kept in DIR where that is given and used again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from conversion import Run, measured
from printing import megabytes, say, table, versions

OPTIONS = ("--target", "coreml", "--target", "onnx", "--bits", "4")
COLUMNS = ("stage", "wall, s", "own memory", "mapped files", "read", "written")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=int, default=32, help="of Mistral 7B's 32 (default: 32)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where to keep the checkpoint")
    parser.add_argument("--workers", type=int, default=1, help="processes that compress (default: 1)")
    given = parser.parse_args()
    if given.layers < 3:
        parser.error("--layers must be at least 3: the super weight is in the second, and something must come after it")
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.folder or Path(scratch)) / f"mistral-shape-{given.layers}"
        run(folder, given.layers, given.workers, Path(scratch) / "package")


def run(folder: Path, layers: int, workers: int, output: Path) -> None:
    """Make the checkpoint if need be, convert it in a process of its own, and check what came out."""
    # In processes of their own: a child starts as a copy of this one, and the kernel counts that in its peak memory.
    here = Path(__file__).parent
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        program = (
            f"import mistral_shape, pathlib; mistral_shape.make_checkpoint(pathlib.Path({str(folder)!r}), {layers})"
        )
        subprocess.run([sys.executable, "-c", program], cwd=here, check=True)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    options = (*OPTIONS, "--workers", str(workers))
    made = measured("convert", "convert", str(folder), *options, "-o", str(output), output=output)
    print(f"Mistral 7B's shape, {layers} layers, random bfloat16 weights, {size / 1e9:.1f} GB; {' '.join(options)}.")
    print(f"{os.cpu_count()} cores. {versions('coremltools', 'onnx', 'numpy', 'torch')}.\n")
    print(table(COLUMNS, _rows(made)), end="\n\n")
    manifest = json.loads((output / "manifest.json").read_text())
    print(
        f"Held out: {', '.join(_place(each) for each in manifest['held_out'])}. Written: {made.written / 1e9:.2f} GB."
    )
    # Random weights say nothing of perplexity, so any will do; what counts is that the float model is never whole.
    against = ("--target", "onnx", "--against", str(folder), "--windows", "1", "--tokens", "128")
    checked = measured("validate", "validate", str(output), *against, "--max-perplexity-increase", "1000%")
    print(f"\nThe ONNX model validated on a window of 128 tokens:\n\n{table(COLUMNS, _rows(checked))}", end="\n\n")
    say("reading the package back")
    subprocess.run([sys.executable, str(here / "read_back.py"), str(folder), str(output)], check=True)


def _rows(made: Run) -> list[tuple[str, ...]]:
    rows = [
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


def _place(held_out: dict[str, float]) -> str:
    return f"layer {held_out['layer']} [{held_out['row']}, {held_out['column']}] = {held_out['value']:g}"


if __name__ == "__main__":
    main()
