"""Benchmark: what each benchmark declares about itself, and how its module is found by its command."""

from __future__ import annotations

import argparse
import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

FOLDERS = {
    "quality": "Quality",
    "speed": "Time, memory and size",
    "archive": "Closed experiments (their answers are in the docs)",
}
"""Folder -> heading. Every module in these folders is a benchmark: it has a `BENCHMARK`, `add_arguments(parser)` and
`main(given)`."""


@dataclass(frozen=True)
class Section:
    """A section of the docs: its file, from the repository's root, and its heading."""

    file: str
    heading: str

    def __str__(self) -> str:
        return f'{self.file}, "{self.heading}"'


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark measures, what it costs and where its figures are."""

    measures: str
    """One plain line."""
    minutes: float
    """About how long it takes with its defaults on two idle cores."""
    docs: tuple[Section, ...]
    """The sections that show its tables; those of a closed experiment give its answer."""


def commands() -> dict[str, str]:
    """The module of each benchmark by its command, in the order of the listing. Imports none of them."""
    root = Path(__file__).parents[1]
    return {
        path.stem.replace("_", "-"): f"benchmarks.{folder}.{path.stem}"
        for folder in FOLDERS
        for path in sorted((root / folder).glob("[!_]*.py"))
    }


def load(command: str) -> ModuleType:
    """The module of a benchmark. KeyError for an unknown command."""
    return importlib.import_module(commands()[command])


def make_parser(command: str, module: ModuleType) -> argparse.ArgumentParser:
    """The parser of a benchmark's arguments."""
    benchmark: Benchmark = module.BENCHMARK
    details = (module.__doc__ or "").partition("\n")[2].strip()
    parser = argparse.ArgumentParser(
        f"python -m benchmarks {command}",
        description=benchmark.measures,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return parser
