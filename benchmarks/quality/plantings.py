"""Detection against ground truth: super weights planted in random decoders of every family.

What detection missed and what it made up, by family and kind of planting: 288 plantings. Needs transformers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.lib.arguments import at_least
from benchmarks.lib.benchmark import Benchmark, Section
from benchmarks.lib.planted import FAMILIES, KINDS, Compared, compare, plant
from benchmarks.lib.printing import say, table, versions

BENCHMARK = Benchmark(
    "Super weights that detection misses or makes up among those planted in random decoders of every family.",
    minutes=5,
    docs=(Section("docs/detection.md", "Ground truth"),),
)
COLUMNS = ("plantings", "missed", "false alarms", "lowest margin", "highest margin of others")


@dataclass
class Count:
    """What detection made of the plantings of one family and kind."""

    plantings: int = 0
    missed: int = 0
    false_alarms: int = 0
    margins: list[float] = field(default_factory=list)  # of super weights
    others: list[float] = field(default_factory=list)  # of rejected candidates and cancelling scalars

    def add(self, compared: Compared) -> None:
        self.plantings += 1
        self.missed += len(compared.missed)
        self.false_alarms += len(compared.false_alarms)
        self.margins += [w.effect.margin for w in compared.found.super_weights if w.effect]
        self.others += [w.effect.margin for w in compared.found.rejected if w.effect]

    def cells(self) -> list[str]:
        lowest = f"{min(self.margins):,.0f}" if self.margins else ""
        highest = f"{max(self.others):,.1f}" if self.others else ""
        return [str(self.plantings), str(self.missed), str(self.false_alarms), lowest, highest]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=at_least(1), default=3, help="plantings for each family and kind (3)")
    parser.add_argument("--first", type=at_least(0), default=0, help="the first seed (0)")
    parser.add_argument("--family", choices=FAMILIES, action="append", help="only these; repeatable")


def main(given: argparse.Namespace) -> None:
    torch.set_num_threads(1)  # matrices this small only wait for each other
    families = given.family or FAMILIES
    cells: dict[tuple[str, str], Count] = defaultdict(Count)
    seconds = 0.0
    for family in families:
        for kind in KINDS:
            for seed in range(given.first, given.first + given.seeds):
                with tempfile.TemporaryDirectory() as folder:
                    planted = plant(Path(folder), family, kind, seed)
                    start = time.monotonic()
                    compared = compare(planted)
                    seconds += time.monotonic() - start
                if compared.missed or compared.false_alarms:
                    found = [weight.coordinates for weight in compared.found.super_weights]
                    say(
                        f"{family}, {kind}, seed {seed}: planted {sorted(planted.super_weights)}, found {found}; "
                        f"cancelling {sorted(planted.cancels_at)}, found {list(compared.found.cancels_at)}; "
                        f"influential {sorted(planted.influential)}, "
                        f"found {[scalar.coordinates for scalar in compared.found.influential]}"
                    )
                for place in ((family, kind), (family, ""), ("", kind), ("", "")):
                    cells[place].add(compared)
        say(f"{family}: {cells[family, ''].plantings} plantings")
    heads = [[family, kind, *cells[family, kind].cells()] for family in families for kind in KINDS]
    print(table(("family", "kind", *COLUMNS), heads, left=2), end="\n\n")
    print(table(("family", *COLUMNS), [[family, *cells[family, ""].cells()] for family in families]), end="\n\n")
    sums = [[kind, *cells["", kind].cells()] for kind in KINDS]
    print(table(("kind", *COLUMNS), [*sums, ["all", *cells["", ""].cells()]]), end="\n\n")
    print(f"{seconds / cells['', ''].plantings:.2f} s each to detect. {versions('torch', 'transformers')}")
