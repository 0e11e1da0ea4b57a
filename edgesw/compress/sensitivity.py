"""The harm of storing a matrix by a scheme: nats per token that the decoder is expected to lose by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgesw.compress.compression import compress_matrix
from edgesw.compress.hold_out import NO_HOLD_OUT, NO_MATRIX_HOLD_OUT, HoldOut, MatrixHoldOut
from edgesw.compress.scheme import Scheme
from edgesw.decoder.ops import Weights

# Weights of a matrix that are tried out at least: a large matrix takes no longer than a small one.
SAMPLE = 1 << 20


def expected_harm(
    error: np.ndarray, mean_squares: np.ndarray, output_gradients: np.ndarray, share: float = 1.0
) -> float:
    """Nats per token that an error (rows, columns) of a matrix costs, to second order.

    A product's error in row r has the mean square sum_c mean_squares[c] * error[r, c]^2 where the inputs of different
    columns do not go together, and the KL divergence per token grows by half of it times the mean square
    `output_gradients[r]` of the loss gradient there: the diagonal of the Fisher information, factored as in K-FAC
    (arXiv 1503.05671). `share` is what part of the matrix's output gradients the rows at hand have.
    """
    by_row = np.square(error, dtype=np.float64) @ mean_squares.astype(np.float64)
    return float(0.5 * (output_gradients.astype(np.float64) @ by_row) / share)


def matrix_harms(
    weights: np.ndarray,
    schemes: Sequence[Scheme],
    mean_squares: np.ndarray,
    output_gradients: np.ndarray,
    hold_out: MatrixHoldOut = NO_MATRIX_HOLD_OUT,
) -> list[float]:
    """`expected_harm` of each scheme for float32 (rows, columns), from a sample of its rows where it is large.

    `mean_squares` (columns,) are of its inputs, `output_gradients` (rows,) of the loss gradients at its outputs. Of
    `hold_out` the columns and the fraction count, not single scalars.
    """
    run = max(scheme.shared_rows for scheme in schemes)
    rows = sample_rows(len(weights), weights.shape[1], run)
    total = float(output_gradients.sum(dtype=np.float64))
    share = float(output_gradients[rows].sum(dtype=np.float64)) / total if total else 1.0
    part = np.ascontiguousarray(weights[rows])
    harms, hold_out = [], replace(hold_out, scalars=())
    for scheme in schemes:
        made = compress_matrix(part, scheme, mean_squares, hold_out)
        error = made.dequantize() - part
        harms.append(expected_harm(error, mean_squares, output_gradients[rows], share or 1.0))
    return harms


def sample_rows(rows: int, columns: int, run: int, sample: int = SAMPLE) -> np.ndarray:
    """Indices of the rows to try out, always the same: all, or runs of neighbours spread evenly over the matrix, of
    `sample` weights or a few more."""
    runs, wanted = -(-rows // run), -(-sample // (columns * run))
    starts = np.arange(runs) if wanted >= runs else np.linspace(0, runs - 1, wanted).round().astype(int)
    index = (starts[:, None] * run + np.arange(run)).ravel()
    return index[index < rows]


def measure_harms(
    weights: Weights,
    schemes: Mapping[str, Sequence[Scheme]],
    mean_squares: Mapping[str, np.ndarray],
    output_gradients: Mapping[str, np.ndarray],
    hold_out: HoldOut = NO_HOLD_OUT,
    progress: Callable[[str], None] | None = None,
) -> dict[str, list[float]]:
    """`matrix_harms` of each matrix's schemes by its name, one matrix in memory at a time.

    `progress(name)` is called before a matrix is read.
    """
    harms = {}
    for name, choices in schemes.items():
        if progress:
            progress(name)
        measures = mean_squares[name], output_gradients[name]
        harms[name] = matrix_harms(weights.tensor(name), choices, *measures, hold_out.of(name))
    return harms
