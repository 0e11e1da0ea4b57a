"""What a scheme is called, what it takes and how it is stored, in figures that do not come from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgesw.compress.block_scheme import BlockScheme
from edgesw.compress.compression import compress_matrix
from edgesw.compress.hold_out import MatrixHoldOut
from edgesw.compress.matrix_file import find_matrix, save_matrix
from edgesw.compress.palette_scheme import PaletteScheme
from edgesw.compress.scheme import Scheme


@pytest.mark.parametrize(
    ("scheme", "text"),
    [
        (PaletteScheme(4, 16), "palette 4 bits, groups of 16 rows"),
        (PaletteScheme(3, 0), "palette 3 bits, per tensor"),
        (PaletteScheme(2, 96, 4), "palette 2 bits, vectors of 4, groups of 96 rows"),
        (BlockScheme(4, 32, True), "block 4 bits, blocks of 32, zero points"),
        (BlockScheme(8, 32), "block 8 bits, blocks of 32"),
        (BlockScheme(8, 64), "block 8 bits, whole rows"),
        (BlockScheme(2, 128, True), "block 2 bits, whole rows, zero points"),
    ],
)
def test_the_printed_text(scheme: Scheme, text: str) -> None:
    """It is in tables, model cards and manifests, which people and scripts compare between packages."""
    assert scheme.text(columns=64) == text


@pytest.mark.parametrize(
    ("scheme", "size"),
    [
        (PaletteScheme(4, 16), 48 * 64 // 2 + 3 * 16 * 2),
        (PaletteScheme(3, 0), 48 * 64 * 3 // 8 + 8 * 2),
        (PaletteScheme(2, 0, 4), 48 * 64 // 4 + 256 * 4 * 2),
        (BlockScheme(4, 32, True), 48 * 64 // 2 + 48 * 2 * 2 + 48 * 2 // 2),
        (BlockScheme(8, 64), 48 * 64 + 48 * 2),
    ],
    ids=str,
)
def test_the_size_is_counted_by_hand(scheme: Scheme, size: int) -> None:
    """Plans, budgets and `--dry-run` add these up."""
    assert scheme.stored_bytes(48, 64) == size


@pytest.mark.parametrize(
    "scheme", [PaletteScheme(3, 16), PaletteScheme(2, 0, 2), BlockScheme(4, 32, True), BlockScheme(4, 32)], ids=str
)
def test_a_matrix_survives_its_file(scheme: Scheme, tmp_path: Path) -> None:
    """An interrupted conversion goes on with matrices from files: one that came back changed would be shipped."""
    x = np.random.default_rng(0).standard_normal((48, 64)).astype(np.float32)
    matrix = compress_matrix(x, scheme, hold_out=MatrixHoldOut((7,), ((1, 2),)))
    save_matrix(tmp_path / "a.npz", matrix)
    found = find_matrix(tmp_path / "a.npz", scheme)
    assert found is not None and found.scheme == scheme and found.shape == matrix.shape
    assert np.array_equal(found.dequantize(), matrix.dequantize())
    assert found.dense.arrays.keys() == matrix.dense.arrays.keys()


def test_a_file_of_another_scheme_is_not_a_matrix(tmp_path: Path) -> None:
    """Codes decoded by another scheme's formula would be silent nonsense."""
    x = np.random.default_rng(0).standard_normal((48, 64)).astype(np.float32)
    save_matrix(tmp_path / "a.npz", compress_matrix(x, PaletteScheme(4, 16)))
    assert find_matrix(tmp_path / "a.npz", BlockScheme(4, 32)) is None
