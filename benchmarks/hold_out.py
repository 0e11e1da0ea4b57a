"""What holding out super weights, their columns and the columns whose input spikes buys, scheme by scheme.

python benchmarks/hold_out.py [--text FILE] [--windows 4] [--times 100] [--model smollm2-135m]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numerics import Mixed, NumericsDecoder
from printing import say, table, versions

from edgesw.calibration.calibrate import CALIBRATION_TOKENS, CALIBRATION_WINDOWS, input_mean_squares
from edgesw.calibration.outlier_channels import TIMES_MEAN, columns_of, joined, spiking_columns
from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.compress.decoder import compress_matrix
from edgesw.compress.matrix import Scheme
from edgesw.errors import EdgeswError
from edgesw.outliers.detect import find_outliers
from edgesw.recipes.coordinates import Coordinates
from edgesw.runtime.torch import FloatLogits
from edgesw.text.texts import load_text, shipped_text, windows
from edgesw.text.tokenizer import Tokenizer
from edgesw.validate.measure import measure

WHOLE_ROW = 1 << 16  # longer than any row: cut to it
SCHEMES = (
    Scheme("palette", 4, 0),
    Scheme("palette", 4, 16),
    Scheme("palette", 3, 16),
    Scheme("block", 4, 32, True),
    Scheme("block", 4, 128, True),
    Scheme("block", 4, WHOLE_ROW, True),
)
COLUMNS = ("scheme", "held out", "columns", "extra bytes", "perplexity", "over float", "KL, nats", "KL less, a kB")


@dataclass(frozen=True)
class HeldOut:
    """What one row of the table keeps out of the dense parts."""

    title: str
    scalars: tuple[Coordinates, ...]
    columns: Mapping[str, tuple[int, ...]]

    def corrections(self, checkpoint: Checkpoint) -> tuple[int, int]:
        """How many columns the corrections have, and their bytes: float16 values and an index of four bytes."""
        columns = joined(columns_of(self.scalars), self.columns)
        rows = {name: checkpoint.spec.matrix_shape(name)[0] for name in columns}
        count = sum(map(len, columns.values()))
        return count, sum(len(each) * (2 * rows[name] + 4) for name, each in columns.items())

    def of(self, name: str) -> tuple[list[tuple[int, int]], tuple[int, ...]]:
        """Scalars (row, column) and columns of one matrix."""
        scalars = [(row, column) for layer, row, column in self.scalars if name == f"layers.{layer}.down_proj"]
        return scalars, self.columns.get(name, ())


class Compressed:
    """The dequantised matrices of one scheme. Those that nothing is held out of are kept for the rows that follow."""

    def __init__(self, checkpoint: Checkpoint, scheme: Scheme, importance: dict[str, np.ndarray]) -> None:
        self._checkpoint, self._scheme, self._importance = checkpoint, scheme, importance
        self._plain: dict[str, np.ndarray] = {}

    def tensor(self, name: str, held_out: HeldOut) -> np.ndarray:
        scalars, columns = held_out.of(name)
        if not scalars and not columns and name in self._plain:
            return self._plain[name]
        weights, importance = self._checkpoint.tensor(name), self._importance[name]
        scheme = replace(self._scheme, group=min(self._scheme.group, weights.shape[1]))
        matrix = compress_matrix(weights, scheme, importance, scalars, columns).dequantize()
        if not scalars and not columns:
            self._plain[name] = matrix
        return matrix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--text", help="UTF-8 file, or wikitext2 (default: the calibration text after what is fitted to)"
    )
    parser.add_argument("--windows", type=int, default=4, help="windows of 512 tokens (default: 4)")
    parser.add_argument(
        "--times", type=float, nargs="+", default=[TIMES_MEAN],
        help=f"hold out columns with so many times the mean of the mean squares (default: {TIMES_MEAN:g}); repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--schemes", type=int, nargs="+", default=range(len(SCHEMES)), help="which, by number (default: all)"
    )
    parser.add_argument("--model", default="smollm2-135m", help="what edgesw convert takes (default: smollm2-135m)")
    given = parser.parse_args()
    try:
        run(given.model, given.text, given.windows, given.times, [SCHEMES[at] for at in given.schemes])
    except EdgeswError as error:
        sys.exit(f"Error: {error}")


def run(model: str, text: str | None, count: int, times: list[float], schemes: list[Scheme]) -> None:
    """Measure and print."""
    checkpoint = open_checkpoint(model)
    spec, tokenizer = checkpoint.spec, Tokenizer.from_files(checkpoint.tokenizer_files(), model)
    tokens = min(CALIBRATION_TOKENS, spec.max_positions)
    fitted = windows(shipped_text("calibration"), tokenizer, CALIBRATION_WINDOWS, tokens)
    if text is None:
        name = "calibration text, after the windows fitted to"
        ids = windows(shipped_text("calibration"), tokenizer, CALIBRATION_WINDOWS + count, tokens)[CALIBRATION_WINDOWS:]
    else:
        name, ids = load_text(text).name, windows(load_text(text), tokenizer, count, tokens)
    say("finding super weights")
    outliers = find_outliers(checkpoint, tokenizer, lambda *_: None)
    say("calibrating")
    importance = input_mean_squares(spec, checkpoint, fitted)
    scalars = tuple(weight.coordinates for weight in outliers.super_weights)
    held_outs = [
        HeldOut("nothing", (), {}),
        HeldOut("super weights", scalars, {}),
        HeldOut("and their columns", scalars, columns_of(scalars)),
        *(
            HeldOut(
                f"and columns from {each:g} times",
                scalars,
                joined(columns_of(scalars), spiking_columns(importance, each)),
            )
            for each in times
        ),
    ]
    ends = {"embed_tokens": checkpoint.tensor("embed_tokens"), "lm_head": checkpoint.tensor("lm_head")}
    say("the float model")
    reference = list(FloatLogits(spec, Mixed(checkpoint, frozenset(), checkpoint.tensor, ends), ids))
    rows = [row for scheme in schemes for row in _rows(checkpoint, scheme, held_outs, importance, ids, reference, ends)]
    print(f"{model} ({checkpoint.source.origin}) on {name}: {len(ids)} windows of {ids.shape[1]} tokens, ", end="")
    print("layers' matrices compressed, embedding and head float.")
    print(f"{versions('numpy', 'torch')}.\n")
    print(table(COLUMNS, rows, left=2))


def _rows(
    checkpoint: Checkpoint,
    scheme: Scheme,
    held_outs: list[HeldOut],
    importance: dict[str, np.ndarray],
    ids: np.ndarray,
    reference: list[np.ndarray],
    ends: dict[str, np.ndarray],
) -> Iterator[tuple[str, ...]]:
    """The rows of one scheme, in the order of `held_outs`; gains count from the first."""
    compressed = Compressed(checkpoint, scheme, importance)
    names = frozenset(checkpoint.spec.matrices())
    plain = 0.0
    title = "block 4 bits, whole rows, zero points" if scheme.group == WHOLE_ROW else str(scheme)
    for held_out in held_outs:
        say(f"{title}: {held_out.title}")
        mixed = Mixed(checkpoint, names, lambda name, held_out=held_out: compressed.tensor(name, held_out), ends)
        decoder = NumericsDecoder(checkpoint.spec, mixed, ids)
        *_, (result,) = measure(ids, reference, [decoder])
        count, size = held_out.corrections(checkpoint)
        plain = plain if size else result.kl_divergence
        gain = f"{1000 * (plain - result.kl_divergence) / size:.5f}" if size else ""
        say(f"  {result.perplexity:.3f}, KL {result.kl_divergence:.4f}")
        yield (
            *(title, held_out.title, f"{count:,}", f"{size:,}", f"{result.perplexity:,.2f}"),
            *(f"{result.increase:+.1%}", f"{result.kl_divergence:.4f}", gain),
        )


if __name__ == "__main__":
    main()
