"""What holds for every scheme and every matrix, degenerate ones above all: hypothesis looks for one that breaks it."""

from __future__ import annotations

from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from edgesw.compress.block_scheme import BlockScheme
from edgesw.compress.compensate import Hessian
from edgesw.compress.compression import compress_matrix
from edgesw.compress.float16 import to_float16
from edgesw.compress.hold_out import MatrixHoldOut
from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.palette_scheme import PaletteScheme
from edgesw.compress.scheme import Scheme

SETTINGS = hypothesis.settings(
    max_examples=150, derandomize=True, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
FLOAT16 = float(np.finfo(np.float16).max)


@st.composite
def matrices(draw: Any, multiple: int = 1) -> np.ndarray:
    """Float32 (rows, columns), rows a multiple: of few shapes and of values that break formulas."""
    rows = multiple * draw(st.sampled_from([1, 2, 3, 5, 8, 17]))
    columns = draw(st.sampled_from([1, 2, 3, 7, 16, 31, 33, 64, 100]))
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    kind = draw(
        st.sampled_from(["plain", "heavy", "zeros", "one value", "one row of zeros", "two values", "few", "shifted"])
    )
    size = draw(st.sampled_from([1.0, 0.02, 1e-3, 3e-6, 1e-9, 1e-30, 100.0, 6e4, 1e6]))
    shape = (rows, columns)
    x = {
        "plain": lambda: random.standard_normal(shape),
        "heavy": lambda: random.standard_t(2, shape),
        "zeros": lambda: np.zeros(shape),
        "one value": lambda: np.full(shape, random.choice([1.0, -1.0, 0.3])),
        "one row of zeros": lambda: random.standard_normal(shape) * (np.arange(rows) > 0)[:, None],
        "two values": lambda: random.choice([0.25, -0.75], shape),
        "few": lambda: np.round(random.standard_normal(shape) * 2),
        "shifted": lambda: 5 + random.random(shape),
    }[kind]()
    return np.asarray(x * size, np.float32)


@st.composite
def schemes(draw: Any) -> tuple[Scheme, np.ndarray]:
    """Any scheme, and a matrix for it."""
    if draw(st.booleans()):
        zero_points, bits = draw(st.booleans()), draw(st.integers(2, 8))
        x = draw(matrices())
        block = draw(st.sampled_from([1, 2, 3, 7, 16, 32, 33, 128, x.shape[1]]))
        return BlockScheme(bits, min(block, x.shape[1]), zero_points), x
    vector = draw(st.sampled_from([1, 1, 1, 2, 4]))
    bits = draw(st.integers(1, 8 // vector))
    x = draw(matrices(vector))
    divisors = [n for n in range(1, len(x) // vector + 1) if len(x) // vector % n == 0]
    group = draw(st.sampled_from([0, *(vector * n for n in divisors)]))
    return PaletteScheme(bits, group, vector), x


@st.composite
def held_out(draw: Any, x: np.ndarray) -> tuple[list[tuple[int, int]], list[int]]:
    rows, columns = x.shape
    places = st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1))
    return draw(st.lists(places, max_size=3)), draw(st.lists(st.integers(0, columns - 1), max_size=2))


def importances(x: np.ndarray, seed: int) -> np.ndarray | None:
    """None, all zero, mostly zero, or of many sizes."""
    random, columns = np.random.default_rng(seed), x.shape[1]
    return (
        None,
        np.zeros(columns, np.float32),
        (np.arange(columns) == 0).astype(np.float32) * np.float32(1e6),
        random.gamma(0.2, size=columns).astype(np.float32),
    )[seed % 4]


def hessian_of(x: np.ndarray, seed: int) -> Hessian:
    """The Hessian of a correlated input, with one channel that is always zero."""
    random = np.random.default_rng(seed)
    tokens = int(random.integers(1, 40))
    own = random.standard_normal((tokens, x.shape[1])) * (random.random(x.shape[1]) > 0.2)
    first = own + 0.05 * random.standard_normal(own.shape)
    moments, shift = own.T @ own / tokens, (first - own).T @ own / tokens
    return Hessian(moments.astype(np.float32), shift.astype(np.float32), tokens)


def check_sound(matrix: CompressedMatrix, scheme: Scheme, x: np.ndarray) -> None:
    """Finite everywhere, of the right shape, with codes within their width and finite palettes or scales."""
    whole = matrix.dequantize()
    assert whole.shape == x.shape and np.isfinite(whole).all()
    assert matrix.dense.codes.dtype == np.uint8 and matrix.dense.codes.max() < 2**scheme.code_bits
    floats = [part for name, part in matrix.dense.arrays.items() if name in ("palettes", "scales")]
    assert len(floats) == 1 and floats[0].dtype == np.float16 and np.isfinite(floats[0]).all()


def off(matrix: CompressedMatrix, x: np.ndarray, rows: Any, columns: Any) -> Any:
    """How far places of `dequantize` may be from float16 of the matrix: half a unit in the last place of the delta, and
    what the delta lacks where float16 cannot hold it."""
    dense, value = matrix.dense.decode()[rows, columns], np.clip(x[rows, columns], -FLOAT16, FLOAT16)
    beyond = max(0.0, abs(float(value) - float(dense)) - FLOAT16)
    return 2.0**-11 * (abs(value) + abs(dense)) + 2.0**-24 + 1.01 * beyond


@SETTINGS
@hypothesis.given(schemes(), st.integers(0, 2**16), st.data())
def test_every_scheme_takes_every_matrix(made: tuple[Scheme, np.ndarray], seed: int, data: st.DataObject) -> None:
    """One NaN in a matrix makes NaN of every logit; a held-out scalar that is not exact breaks the model in silence."""
    scheme, x = made
    places, columns = data.draw(held_out(x))
    fraction = data.draw(st.sampled_from([0.0, 0.0, 0.01, 0.3]))
    matrix = compress_matrix(x, scheme, importances(x, seed), MatrixHoldOut(tuple(columns), tuple(places), fraction))
    check_sound(matrix, scheme, x)
    check_held_out(matrix, x, places, columns)


def check_held_out(matrix: CompressedMatrix, x: np.ndarray, places: list[tuple[int, int]], columns: list[int]) -> None:
    """The held-out values are exact in float16, and so is the matrix there, but for the rounding of the deltas."""
    exact, whole = to_float16(x), matrix.dequantize()
    if (kept := matrix.held_out_columns) is not None:
        assert kept.columns.tolist() == sorted(set(columns))
        assert np.array_equal(kept.values, exact[:, kept.columns].T)
    if (each := matrix.held_out_scalars) is not None:
        assert np.array_equal(each.values, exact[each.rows, each.columns])
    apart = set(zip(each.rows.tolist(), each.columns.tolist(), strict=True)) if each is not None else set()
    for row, column in [*places, *((row, column) for column in columns for row in range(len(x)))]:
        assert column in columns or (row, column) in apart
        assert abs(whole[row, column] - float(exact[row, column])) <= off(matrix, x, row, column)


@SETTINGS
@hypothesis.given(schemes(), st.integers(0, 2**16), st.data())
def test_compensation_takes_every_matrix(made: tuple[Scheme, np.ndarray], seed: int, data: st.DataObject) -> None:
    """It solves systems that silent channels and equal values make singular: NaN of one would spread to every layer."""
    scheme, x = made
    places, columns = data.draw(held_out(x))
    hessian = hessian_of(x, seed)
    matrix = compress_matrix(x, scheme, None, MatrixHoldOut(tuple(columns), tuple(places)), hessian)
    check_sound(matrix, scheme, x)
    check_held_out(matrix, hessian.matched(x), places, columns)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_never_reach_a_scheme(value: float) -> None:
    """Compressed, NaN would become an ordinary number, and nobody would learn that the checkpoint is damaged."""
    from edgesw.compress.decoder import CompressedDecoder
    from edgesw.compress.plan import CompressionPlan
    from edgesw.errors import CheckpointError

    class Damaged:
        def tensor(self, name: str) -> np.ndarray:
            x = np.ones((3, 5), np.float32)
            x[1, 2] = value
            return x

        def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
            return self.tensor(name)[rows]

    decoder = CompressedDecoder(Damaged(), CompressionPlan(()))
    for ask in (decoder.matrix, decoder.vector):
        with pytest.raises(CheckpointError, match="'layers.0.q_proj' holds NaN or infinity"):
            ask("layers.0.q_proj")


# --- never worse than the naive scheme -------------------------------------------------------------------------------


def naive_blocks(x: np.ndarray, scheme: Scheme) -> np.ndarray:
    """Plain rounding to the nearest, each block's range from its least to its largest value, as converters do it; the
    scale in float16, as it is stored."""
    wide, top, half = x.astype(np.float64), 2**scheme.bits - 1, 2 ** (scheme.bits - 1)
    out = np.empty_like(wide)
    for row in range(len(x)):
        for at in range(0, x.shape[1], scheme.group):
            part = wide[row, at : at + scheme.group]
            if scheme.zero_points:
                low, high = min(part.min(), 0), max(part.max(), 0)
                scale, zero = stored((high - low) / top), np.round(-low / ((high - low) or 1) * top)
            else:
                scale, zero = stored(np.abs(part).max() / (half - 1)), half
            code = np.clip(np.round(part / scale) + zero, 0, top)
            out[row, at : at + scheme.group] = (code - zero) * scale
    return out


def stored(scale: float) -> float:
    """A scale as float16 has it; 1 for none."""
    return float(to_float16(np.float64(scale))) or 1.0


def naive_palette(x: np.ndarray, scheme: Scheme) -> np.ndarray:
    """Every group's palette uniform from its least to its largest value; for vectors, of as many levels along each of
    their values as the code has bits for."""
    out = np.empty(x.shape)
    step = scheme.group or len(x)
    for at in range(0, len(x), step):
        part = x[at : at + step].astype(np.float64)
        palette = to_float16(np.linspace(part.min(), part.max(), 2**scheme.bits)).astype(np.float64)
        out[at : at + step] = palette[np.abs(part[..., None] - palette).argmin(-1)]
    return out


def squared(matrix: np.ndarray, x: np.ndarray) -> float:
    return float(np.square(matrix.astype(np.float64) - x.astype(np.float64)).sum())


@SETTINGS
@hypothesis.given(schemes())
def test_error_is_never_above_the_naive_scheme(made: tuple[Scheme, np.ndarray]) -> None:
    """Otherwise users of some model would get less than from any other converter, for the same bytes.

    Palettes are best before their entries are rounded to float16, and take values that float16 does not tell apart for
    one: that may cost one unit in float16's last place for each value, and no more.
    """
    scheme, x = made
    x = np.clip(x, -FLOAT16, FLOAT16)  # no scheme has more
    naive = (naive_palette if scheme.kind == "palette" else naive_blocks)(x, scheme)
    ours = squared(compress_matrix(x, scheme).dequantize(), x)
    units = np.maximum(np.abs(x.astype(np.float64)) * 2.0**-10, 2.0**-24) if scheme.kind == "palette" else np.zeros(1)
    allowed = float(np.square(units).sum()) + 1e-12 * float(np.square(x.astype(np.float64)).sum())
    assert ours <= squared(naive, x) * (1 + 1e-5) + allowed
