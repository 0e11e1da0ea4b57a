"""What holding out super weights, their columns and outlier channels gains, scheme by scheme and per kilobyte.

The layers' matrices are compressed and simulated; embedding and head stay float.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.lib.arguments import add_model, add_text
from benchmarks.lib.benchmark import Benchmark, Section
from benchmarks.lib.model import described, open_model, windows_of
from benchmarks.lib.numerics import Mixed, SimulatedDecoder, float_ends
from benchmarks.lib.printing import Stages, say, table, versions
from benchmarks.lib.rows import WHOLE_ROW, core_ml_plan, with_scheme
from edgesw.calibration.calibrate import calibrate
from edgesw.calibration.outlier_channels import TIMES_MEAN, columns_of, joined, outlier_channels_by_matrix
from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.compress.block_scheme import BlockScheme
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import NO_HOLD_OUT, HoldOut
from edgesw.compress.palette_scheme import PaletteScheme
from edgesw.compress.plan import CompressionPlan
from edgesw.conversion.settings import Settings
from edgesw.outliers.detect import find_outliers
from edgesw.recipes.coordinates import Coordinates
from edgesw.runtime.torch import FloatLogits
from edgesw.text.texts import load_text, shipped_text
from edgesw.validation.measure import measure

BENCHMARK = Benchmark(
    "Perplexity and KL divergence with super weights, their columns and outlier channels held out, per kilobyte.",
    minutes=10,
    docs=(Section("docs/compression.md", "Hold-out"),),
)
SCHEMES = (
    PaletteScheme(4, 0),
    PaletteScheme(4, 16),
    PaletteScheme(3, 16),
    BlockScheme(4, 32, True),
    BlockScheme(4, 128, True),
    BlockScheme(4, WHOLE_ROW, True),
)
COLUMNS = ("scheme", "held out", "columns", "extra bytes", "perplexity", "over float", "KL, nats", "KL less, per kB")


@dataclass(frozen=True)
class Case:
    """What a row of the table holds out."""

    title: str
    hold_out: HoldOut = NO_HOLD_OUT

    @property
    def corrected(self) -> HoldOut:
        """What the corrections store: whole columns, also for scalars."""
        return HoldOut(joined(columns_of(self.hold_out.scalars), self.hold_out.columns))


class Compressed:
    """The dequantized matrices of one scheme. Those from which nothing is held out are cached for the next rows."""

    def __init__(self, checkpoint: Checkpoint, plan: CompressionPlan, importance: Mapping[str, np.ndarray]) -> None:
        self._checkpoint, self.plan, self._importance = checkpoint, plan, importance
        self._plain: dict[str, np.ndarray] = {}

    def decoder(self, case: Case, ids: np.ndarray, ends: Mapping[str, np.ndarray]) -> SimulatedDecoder:
        """The decoder of this case."""
        compressed = CompressedDecoder(self._checkpoint, self.plan, self._importance, case.hold_out)

        def matrix(name: str) -> np.ndarray:
            if name in case.corrected.columns:
                return compressed.tensor(name)
            if name not in self._plain:
                self._plain[name] = compressed.tensor(name)
            return self._plain[name]

        spec = self._checkpoint.spec
        return SimulatedDecoder(
            FloatLogits(spec, Mixed(self._checkpoint, frozenset(spec.matrices()), matrix, ends), ids)
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_text(parser, 4)
    parser.add_argument(
        "--times", type=float, nargs="+", default=[TIMES_MEAN], metavar="N",
        help=f"hold out channels whose mean square is N times the mean of their matrix ({TIMES_MEAN:g})",
    )  # fmt: skip
    parser.add_argument(
        "--schemes", type=int, nargs="+", choices=range(len(SCHEMES)), default=range(len(SCHEMES)),
        help="which, by number (all)",
    )  # fmt: skip
    add_model(parser)


def main(given: argparse.Namespace) -> None:
    checkpoint, tokenizer = open_model(given.model)
    text = load_text(given.text)
    ids = windows_of(text, checkpoint, tokenizer, given.windows)
    outliers = find_outliers(checkpoint, tokenizer, Stages())
    importance = calibrate(checkpoint, tokenizer, shipped_text("calibration"), Stages()).mean_squares
    super_weights = [scalar.coordinates for scalar in outliers.super_weights]
    influential = [scalar.coordinates for scalar in outliers.influential]
    cases = make_cases(super_weights, influential, importance, given.times)
    ends = float_ends(checkpoint)
    say("the float model")
    reference = list(FloatLogits(checkpoint.spec, Mixed(checkpoint, frozenset(), checkpoint.tensor, ends), ids))
    plan = core_ml_plan(checkpoint.spec, Settings(("coreml",)))
    rows: list[tuple[str, ...]] = []
    for scheme in (SCHEMES[at] for at in given.schemes):
        compressed = Compressed(checkpoint, with_scheme(plan, scheme), importance)
        rows += _rows(compressed, scheme.text(plan.layers[0].columns), cases, ids, reference, ends)
    print(described(given.model, checkpoint, text.name, ids))
    print(f"The layers' matrices are compressed, embedding and head float. {versions('numpy', 'torch')}.\n")
    print(table(COLUMNS, rows, left=2))


def make_cases(
    super_weights: Sequence[Coordinates],
    influential: Sequence[Coordinates],
    importance: Mapping[str, np.ndarray],
    times: Sequence[float],
) -> list[Case]:
    """Nothing, the super weights, their columns, and outlier channels at each of these `times` the mean; where there
    are influential scalars, these too, singly, with their columns, and besides all else."""
    scalars, columns = tuple(super_weights), columns_of(super_weights)
    both, wide = (*scalars, *influential), joined(columns, columns_of(influential))
    cases = [
        Case("nothing"),
        Case("super weights", HoldOut(scalars=scalars)),
        Case("and influential scalars", HoldOut(scalars=both)),
        Case("super weights and their columns", HoldOut(columns, scalars)),
        Case("and influential scalars and their columns", HoldOut(wide, both)),
    ]
    for each in times:
        outliers = outlier_channels_by_matrix(importance, each)
        cases += [
            Case(
                f"super weights, and columns from {each:g} times the mean", HoldOut(joined(columns, outliers), scalars)
            ),
            Case(f"and influential scalars, from {each:g} times", HoldOut(joined(wide, outliers), both)),
        ]
    return cases if influential else [case for case in cases if "influential" not in case.title]


def _rows(
    compressed: Compressed,
    title: str,
    cases: Sequence[Case],
    ids: np.ndarray,
    reference: Sequence[np.ndarray],
    ends: Mapping[str, np.ndarray],
) -> Iterator[tuple[str, ...]]:
    """The rows of one scheme; gains count from the first, with nothing held out."""
    plain = 0.0
    for case in cases:
        say(f"{title}: {case.title}")
        *_, (result,) = measure(ids, reference, [compressed.decoder(case, ids, ends)])
        size = compressed.plan.correction_bytes(case.corrected)
        plain = plain if size else result.kl_divergence
        gain = f"{1000 * (plain - result.kl_divergence) / size:.5f}" if size else ""
        yield (
            *(title, case.title, f"{sum(map(len, case.corrected.columns.values())):,}", f"{size:,}"),
            *(f"{result.perplexity:,.2f}", f"{result.increase:+.1%}", f"{result.kl_divergence:.4f}", gain),
        )
