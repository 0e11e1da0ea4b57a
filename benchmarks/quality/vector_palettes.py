"""What palettes of vectors (--cluster-dim) are worth compared with palettes of scalars, at the same stored bits.

The weighted error of some of the model's matrices with vectors of 2 and 4 values, by scikit-learn's k-means, and the
bits at which scalar palettes, by edgesw, have the same error. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys

import numpy as np

from benchmarks.lib.arguments import add_model
from benchmarks.lib.benchmark import Benchmark, Section
from benchmarks.lib.model import open_model
from benchmarks.lib.printing import Stages, say, table, versions
from edgesw.calibration.calibrate import calibrate
from edgesw.compress.compression import compress_matrix
from edgesw.compress.palette_scheme import PaletteScheme
from edgesw.text.texts import shipped_text

BENCHMARK = Benchmark(
    "The bits that palettes of vectors save at the same weighted error, on a few matrices.",
    minutes=10,
    docs=(Section("docs/compression.md", "Palettes of vectors"),),
)
COLUMNS = ("matrix", "palettes", "bits per weight", "weighted error", "bits of scalar palettes", "saved")
SCALAR = [(bits, group) for bits in (1, 2, 3, 4, 6) for group in (8, 16, 32, 64, 0)]
# (values per code, bits of a code, rows that share a palette): Core ML's codes have 1, 2, 3, 4, 6 or 8 bits.
VECTOR = [(2, 4, 32), (2, 4, 0), (2, 6, 64), (2, 6, 192), (2, 6, 0), (2, 8, 64), (2, 8, 192), (2, 8, 0)]
VECTOR += [(4, 8, 192), (4, 8, 0)]
MATRICES = ["layers.5.gate_proj", "layers.15.down_proj", "layers.20.o_proj"]
STEPS = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--matrix", nargs="+", default=MATRICES, metavar="NAME", help=f"which ({' '.join(MATRICES)})")
    add_model(parser)


def main(given: argparse.Namespace) -> None:
    if importlib.util.find_spec("sklearn") is None:
        sys.exit("Error: this benchmark needs scikit-learn: pip install -e '.[benchmarks]'")
    run(given.model, given.matrix)


def run(model: str, names: list[str]) -> None:
    """Fits every setting to every matrix and prints the bits saved."""
    checkpoint, tokenizer = open_model(model)
    importance = calibrate(checkpoint, tokenizer, shipped_text("calibration"), Stages()).mean_squares
    rows = [row for name in names for row in compared(name, checkpoint.tensor(name), importance[name])]
    print(f"{model}; errors weighted by mean squares of inputs, palettes of float16. {versions('scikit-learn')}.\n")
    print(table(COLUMNS, rows, left=2))


def compared(name: str, weights: np.ndarray, importance: np.ndarray) -> list[tuple[str, ...]]:
    """A row for each of `VECTOR` that divides the matrix's rows."""
    own = float((np.square(weights) * importance).sum(dtype=np.float64))
    scalar = []
    for bits, group in SCALAR:
        say(f"{name}: scalars, {bits} bits")
        scheme = PaletteScheme(bits, group)
        off = compress_matrix(weights, scheme, importance).dequantize() - weights
        error = float((np.square(off) * importance).sum(dtype=np.float64)) / own
        scalar.append((8 * scheme.stored_bytes(*weights.shape) / weights.size, error))
    lines: list[tuple[str, ...]] = []
    for width, bits, group in VECTOR:
        say(f"{name}: vectors of {width}, {bits} bits")
        step = group or len(weights)
        if len(weights) % step:
            continue
        error = sum(lost(weights[at : at + step], importance, width, bits) for at in range(0, len(weights), step)) / own
        stored = bits / width + 16 * width * 2**bits / (step * weights.shape[1])
        equal = scalar_bits(scalar, error)
        shared = f"{group} rows" if group else "per tensor"
        title = f"{2**bits} vectors of {width}, {shared}"
        lines.append((name, title, f"{stored:.2f}", f"{error:.5f}", f"{equal:.2f}", f"{equal - stored:+.2f}"))
    return lines


def lost(weights: np.ndarray, importance: np.ndarray, width: int, bits: int) -> float:
    """Weighted squared error of `weights` (rows, columns) with one palette, `width` rows of a column per code."""
    from sklearn.cluster import KMeans

    rows, columns = weights.shape
    vectors = weights.reshape(rows // width, width, columns).transpose(0, 2, 1).reshape(-1, width)
    each = np.tile(importance, rows // width)
    fit = KMeans(2**bits, n_init=1, max_iter=STEPS, random_state=0).fit(vectors, sample_weight=each)
    off = fit.cluster_centers_[fit.labels_].astype(np.float16).astype(np.float32) - vectors
    return float((np.square(off) * each[:, None]).sum(dtype=np.float64))


def scalar_bits(scalar: list[tuple[float, float]], error: float) -> float:
    """Stored bits at which the best scalar palettes have this error, interpolated in the error's logarithm."""
    best = [
        (stored, lost)
        for stored, lost in sorted(scalar)
        if all(lost < other for bits, other in scalar if bits < stored)
    ]
    return float(np.interp(-np.log(error), [-np.log(lost) for _, lost in best], [stored for stored, _ in best]))
