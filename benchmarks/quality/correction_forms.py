"""Forms in which a Core ML program can hold values out of a palettized matrix: bytes, operations and error of each."""

from __future__ import annotations

import argparse
import sys

from benchmarks.lib.arguments import add_model
from benchmarks.lib.benchmark import Benchmark, Section
from benchmarks.lib.correction_forms import FORMS, Case, measured, nothing, own_entries
from benchmarks.lib.model import open_model
from benchmarks.lib.printing import Stages, table, versions
from edgesw.calibration.calibrate import calibrate
from edgesw.compress.palette_scheme import PaletteScheme
from edgesw.conversion.hold_out import find_super_weights
from edgesw.decoder.names import down_proj
from edgesw.text.texts import shipped_text

BENCHMARK = Benchmark(
    "Bytes, operations and error of each form in which Core ML can hold values out of a palette.",
    minutes=1,
    docs=(Section("docs/formats.md", "Core ML: what is held out"),),
)
COLUMNS = ("palettes", "held out", "form", "extra bytes", "operations", "weighted error")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)


def main(given: argparse.Namespace) -> None:
    run(given.model)


def run(model: str) -> None:
    """Measures the first matrix with super weights: two kinds of palettes; super weights or columns held out."""
    checkpoint, tokenizer = open_model(model)
    super_weights = find_super_weights(checkpoint, tokenizer, Stages())
    if not super_weights.values:
        sys.exit(f"Error: no super weights were found in {model}.")
    calibration = calibrate(checkpoint, tokenizer, shipped_text("calibration"), Stages())
    layer = min(layer for layer, _, _ in super_weights.values)
    name = down_proj(layer)
    places = [(row, column) for at, row, column in super_weights.values if at == layer]
    weights, importance = checkpoint.tensor(name), calibration.mean_squares[name]
    columns = list(super_weights.hold_out(calibration.mean_squares).columns[name])
    print(f"{model}, {name}, {weights.shape[0]} x {weights.shape[1]}. {versions('coremltools', 'numpy')}.\n")
    rows = []
    for group in (0, 16):
        none = measured(Case(weights, PaletteScheme(4, group), places, [], importance), nothing)[0]
        kinds: tuple[tuple[str, list[int]], ...] = (
            (_counted(len(places), "scalar"), []),
            (_counted(len(columns), "column"), columns),
        )
        for title, whole in kinds:
            case = Case(weights, PaletteScheme(4, group), places, whole, importance)
            for form, build in FORMS.items():
                if not (whole and build in (own_entries, nothing)):
                    size, *rest = measured(case, build)
                    rows.append((str(case.scheme), title, form, f"{size - none:,}", *rest))
    print(table(COLUMNS, rows, left=3))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
