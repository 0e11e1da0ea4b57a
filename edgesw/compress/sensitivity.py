"""The sensitivity of a matrix to a scheme: the nats per token that storing it by the scheme is expected to cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgesw.compress.compression import compress_matrix
from edgesw.compress.hold_out import NO_HOLD_OUT, NO_MATRIX_HOLD_OUT, HoldOut, MatrixHoldOut
from edgesw.compress.scheme import Scheme
from edgesw.decoder.ops import Weights

# The fewest weights of a matrix to try a scheme on; with a sample a large matrix takes no longer than a small one.
SAMPLE = 1 << 20


def sensitivity(error: np.ndarray, mean_squares: np.ndarray, output_gradients: np.ndarray, share: float = 1.0) -> float:
    """Nats per token that an error (rows, columns) of a matrix costs, to second order.

    In row r the product's error has the mean square sum_c mean_squares[c] * error[r, c]^2, if the inputs of different
    columns are uncorrelated. The KL divergence per token grows by half of it times `output_gradients[r]`, the mean
    square of the loss gradient there: the diagonal of the Fisher information, factored as in K-FAC (arXiv 1503.05671).
    `share` is the part of the whole matrix's output gradients that these rows have.
    """
    by_row = np.square(error, dtype=np.float64) @ mean_squares.astype(np.float64)
    return float(0.5 * (output_gradients.astype(np.float64) @ by_row) / share)


def matrix_sensitivities(
    weights: np.ndarray,
    schemes: Sequence[Scheme],
    mean_squares: np.ndarray,
    output_gradients: np.ndarray,
    hold_out: MatrixHoldOut = NO_MATRIX_HOLD_OUT,
) -> list[float]:
    """The `sensitivity` of a matrix to each scheme, from a sample of its rows where it is large.

    `weights` are float32 (rows, columns), `mean_squares` (columns,) those of its inputs, `output_gradients` (rows,)
    mean squares of the loss gradients at its outputs. Single scalars in `hold_out` are ignored.
    """
    run = max(scheme.shared_rows for scheme in schemes)
    rows = sample_rows(len(weights), weights.shape[1], run)
    total = float(output_gradients.sum(dtype=np.float64))
    share = float(output_gradients[rows].sum(dtype=np.float64)) / total if total else 1.0
    part = np.ascontiguousarray(weights[rows])
    found, hold_out = [], replace(hold_out, scalars=())
    for scheme in schemes:
        made = compress_matrix(part, scheme, mean_squares, hold_out)
        error = made.dequantize() - part
        found.append(sensitivity(error, mean_squares, output_gradients[rows], share or 1.0))
    return found


def sample_rows(rows: int, columns: int, run: int, sample: int = SAMPLE) -> np.ndarray:
    """Indices of the rows to try schemes on, always the same: all rows, or runs of `run` neighbours that are spread
    evenly over the matrix and have at least `sample` weights."""
    runs, wanted = -(-rows // run), -(-sample // (columns * run))
    starts = np.arange(runs) if wanted >= runs else np.linspace(0, runs - 1, wanted).round().astype(int)
    index = (starts[:, None] * run + np.arange(run)).ravel()
    return index[index < rows]


def measure_sensitivities(
    weights: Weights,
    schemes: Mapping[str, Sequence[Scheme]],
    mean_squares: Mapping[str, np.ndarray],
    output_gradients: Mapping[str, np.ndarray],
    hold_out: HoldOut = NO_HOLD_OUT,
    progress: Callable[[str], None] | None = None,
) -> dict[str, list[float]]:
    """The `matrix_sensitivities` of each matrix to its schemes, by name, with one matrix in memory at a time.

    `progress(name)` is called before a matrix is read.
    """
    found = {}
    for name, choices in schemes.items():
        if progress:
            progress(name)
        measures = mean_squares[name], output_gradients[name]
        found[name] = matrix_sensitivities(weights.tensor(name), choices, *measures, hold_out.of(name))
    return found
