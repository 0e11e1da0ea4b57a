"""Detection against ground truth: super weights planted in random decoders of every family."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from printing import say, table, versions

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from planted import FAMILIES, KINDS, Compared, compare, plant


@dataclass
class Count:
    """What came of the plantings of one family and kind."""

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


COLUMNS = ("plantings", "missed", "false alarms", "lowest margin", "highest margin of others")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="plantings for each family and kind")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--family", choices=FAMILIES, action="append", help="only these; repeatable")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # matrices this small only wait for each other
    families = options.family or FAMILIES
    cells: dict[tuple[str, str], Count] = defaultdict(Count)
    seconds = 0.0
    for family in families:
        for kind in KINDS:
            for seed in range(options.first, options.first + options.seeds):
                with tempfile.TemporaryDirectory() as folder:
                    planted = plant(Path(folder), family, kind, seed)
                    start = time.monotonic()
                    compared = compare(planted)
                    seconds += time.monotonic() - start
                if compared.missed or compared.false_alarms:
                    found = [weight.coordinates for weight in compared.found.super_weights]
                    say(
                        f"{family}, {kind}, seed {seed}: planted {sorted(planted.super_weights)}, found {found}; "
                        f"cancelling {sorted(planted.cancels_at)}, found {list(compared.found.cancels_at)}"
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


if __name__ == "__main__":
    main()
