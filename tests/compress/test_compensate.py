"""Error compensation, compared with formulas in plain numpy, float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgesw.compress import threads
from edgesw.compress.block_scheme import BlockCodes, BlockScheme
from edgesw.compress.compensate import compensate
from edgesw.compress.compression import compress_matrix
from edgesw.compress.hold_out import MatrixHoldOut
from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.palette_scheme import PaletteScheme
from edgesw.compress.scheme import Scheme

SCHEMES = [
    PaletteScheme(3, 16),
    PaletteScheme(2, 0),
    PaletteScheme(4, 7),
    PaletteScheme(2, 14, 2),
    BlockScheme(3, 32, True),
    BlockScheme(4, 16),
    BlockScheme(2, 80, True),
]


def _case(rows: int = 70, columns: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Weights, and second moments of an input whose channels are correlated and differ in size."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(columns) + 0.8 * rng.standard_normal((columns, columns)) / np.sqrt(columns)
    x = rng.standard_normal((4 * columns, columns)) @ mixing * rng.lognormal(0, 1, columns)
    return rng.standard_normal((rows, columns)).astype(np.float32), (x.T @ x / len(x)).astype(np.float32)


def _error(weights: np.ndarray, hessian: np.ndarray, made: np.ndarray) -> float:
    """Mean squared error of the product, summed over the outputs."""
    off = weights.astype(np.float64) - made
    return float(np.einsum("rc,cd,rd->", off, hessian.astype(np.float64), off))


def _plain(weights: np.ndarray, hessian: np.ndarray, scheme: Scheme) -> CompressedMatrix:
    return compress_matrix(weights, scheme, np.diagonal(hessian))


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_product_gains_much_over_the_plain_fit(scheme: Scheme) -> None:
    """The only reason to compensate. The plain fit is weighted by the same input's mean squares."""
    weights, hessian = _case()
    plain = _plain(weights, hessian, scheme)
    better = compensate(weights, hessian, plain)
    assert better.scheme == scheme
    assert _error(weights, hessian, better.dequantize()) < 0.8 * _error(weights, hessian, plain.dequantize())


@pytest.mark.parametrize("scheme", SCHEMES[:6], ids=str)
def test_hardly_any_code_could_be_improved(scheme: Scheme) -> None:
    """A mistake in the gradients that descent updates would leave codes that are worse than others; here each code is
    compared with every other value of its palette or block, by the formula. As the passes are few, a few may be
    left."""
    weights, hessian = _case(rows=14)
    made = compensate(weights, hessian, _plain(weights, hessian, scheme))
    off = weights.astype(np.float64) - made.dense.decode()
    wide = hessian.astype(np.float64)
    bettered = 0
    for code in range(2**scheme.code_bits):
        other = replace(made.dense, codes=np.full_like(made.dense.codes, code)).decode()
        step = other - made.dense.decode()
        change = -2 * step * (off @ wide) + step**2 * np.diagonal(wide)  # of the error, for that code alone
        # A code may represent values of several rows.
        change = change.reshape(len(made.dense.codes), -1, change.shape[1]).sum(1)
        bettered += int((change < -1e-4 * np.diagonal(wide) * off.var()).sum())
    assert bettered <= 0.03 * weights.size


def test_a_palette_is_best_for_its_codes() -> None:
    """Entries fitted by least squares: no palette would give a lower error for these codes. numpy's solver says so."""
    weights, hessian = _case(rows=32)
    made = compensate(weights, hessian, _plain(weights, hessian, PaletteScheme(2, 16)))
    root = np.linalg.cholesky(hessian.astype(np.float64))
    for group in range(2):
        rows = slice(16 * group, 16 * group + 16)
        hot = (made.dense.codes[rows][..., None] == np.arange(4)).astype(np.float64)
        unknown = np.einsum("cd,rck->rdk", root, hot).reshape(-1, 4)
        target = (weights[rows].astype(np.float64) @ root).ravel()
        best, *_ = np.linalg.lstsq(unknown, target, rcond=None)
        least = np.square(unknown @ best - target).sum()
        assert _error(weights[rows], hessian, made.dequantize()[rows]) < 1.03 * least


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_exact_places_have_no_error_to_compensate(scheme: Scheme) -> None:
    """A held-out super weight that is counted as an error would be smeared over its whole row."""
    weights, hessian = _case()
    weights[5, 6] = 300.0
    hold_out = MatrixHoldOut(scalars=((5, 6),))
    held = compress_matrix(weights, scheme, np.diagonal(hessian), hold_out)
    exact = np.zeros(weights.shape, bool)
    exact[5, 6] = True
    made = compensate(weights, hessian, held, exact).dequantize()
    assert made[5, 6] == pytest.approx(300.0, rel=1e-3)
    without, alone = weights.copy(), _case()[0]
    without[5, 6] = alone[5, 6] = 0
    made[5, 6] = 0
    ordinary = compensate(alone, hessian, compress_matrix(alone, scheme, np.diagonal(hessian), hold_out), exact)
    rest = ordinary.dequantize()
    rest[5, 6] = 0
    assert (made == rest).all()


@pytest.mark.parametrize(
    "scheme",
    [PaletteScheme(3, 0), PaletteScheme(3, 16), PaletteScheme(2, 0, 4), BlockScheme(4, 16)],
    ids=str,
)
def test_any_number_of_cores_gives_the_same_bits(scheme: Scheme, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two people who convert the same model must get the same package."""
    weights, hessian = _case(rows=800, columns=300)
    plain = _plain(weights, hessian, scheme)
    results, before = [], torch.get_num_threads()
    for count in (1, 5):
        monkeypatch.setattr(threads, "cores", lambda count=count: count)
        torch.set_num_threads(count)
        results.append(compensate(weights, hessian, plain).dense.decode())
        assert torch.get_num_threads() == count, "what others compute keeps its threads"
    torch.set_num_threads(before)
    assert (results[0] == results[1]).all()


def test_symmetric_blocks_keep_negative_scales() -> None:
    """A block whose value of largest magnitude is negative has a negative scale: it must not be fitted away."""
    weights, hessian = _case()
    plain = _plain(weights, hessian, BlockScheme(4, 16))
    assert isinstance(plain.dense, BlockCodes) and (plain.dense.scales < 0).any()
    made = compensate(weights, hessian, plain)
    assert isinstance(made.dense, BlockCodes) and (np.sign(made.dense.scales) == np.sign(plain.dense.scales)).all()


def test_float32_weights_beyond_float16_stay_finite() -> None:
    """Palettes and scales are float16: a large value is clipped, not turned into infinity."""
    weights, hessian = _case()
    weights[0, 0] = 1e6
    for scheme in SCHEMES:
        assert np.isfinite(compensate(weights, hessian, _plain(weights, hessian, scheme)).dequantize()).all()
