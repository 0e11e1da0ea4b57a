"""The heat map of a report: which matrix has which error, and which colour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.colors import to_rgb

from edgesw.package.manifest import Manifest, read_manifest
from edgesw.report.heat_map import HeatMap, heat_map
from edgesw.validation.matrices import MatrixError

KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module")
def manifest(tiny_package: Path) -> Manifest:
    return read_manifest(tiny_package)


def errors(target: str, step: float = 0.001) -> list[MatrixError]:
    """A different error for each matrix of two layers."""
    names = [f"layers.{layer}.{kind}" for layer in range(2) for kind in KINDS]
    return [MatrixError(target, name, 0.01 + step * at) for at, name in enumerate(names)]


def drawn(manifest: Manifest, matrices: list[MatrixError]) -> HeatMap:
    return heat_map([*errors("onnx", 0.01), *matrices], manifest, "coreml")


def test_each_error_stands_in_its_layer_and_kind(manifest: Manifest) -> None:
    """Whoever changes a matrix by this table must change the right one."""
    made = drawn(manifest, errors("coreml"))
    assert made.kinds == KINDS
    shown = [[cell and cell.text for cell in row] for row in made.rows]
    assert shown == [
        ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6"],
        ["1.7", "1.8", "1.9", "2.0", "2.1", "2.2", "2.3"],
    ]
    assert (made.least, made.most) == (pytest.approx(0.01), pytest.approx(0.023))


def test_the_scale_runs_from_the_least_to_the_most(manifest: Manifest) -> None:
    made = drawn(manifest, errors("coreml"))
    first, last = made.rows[0][0], made.rows[-1][-1]
    assert first is not None and last is not None
    assert (first.color, last.color) == (made.colors[0], made.colors[-1])
    for cell in (cell for row in made.rows for cell in row if cell):
        ground, ink = (sum(to_rgb(color)) / 3 for color in (cell.color, cell.ink))
        assert abs(ground - ink) > 0.35, "a number must be readable on its colour"


def test_equal_errors_and_a_missing_matrix_can_be_drawn(manifest: Manifest) -> None:
    """A family may lack a kind of matrix in some layers; a model of equal errors has no range of colours."""
    equal = [MatrixError("coreml", each.name, 0.02) for each in errors("coreml") if each.name != "layers.1.v_proj"]
    made = drawn(manifest, equal)
    assert {cell.color for row in made.rows for cell in row if cell} == {made.colors[0]}
    assert made.rows[1][KINDS.index("v_proj")] is None


def test_bits_are_shown_where_they_differ(manifest: Manifest) -> None:
    """In a package of one width they would be noise; in a mixed one they explain the errors."""
    made = drawn(manifest, errors("coreml"))
    assert {cell.bits for row in made.rows for cell in row if cell} == {None}
    names = [each.name for each in errors("coreml")]
    schemes = {"palette 3 bits, groups of 16 rows": names[:5], "palette 4 bits, groups of 16 rows": names[5:]}
    mixed = replace(manifest, models={"coreml": replace(manifest.models["coreml"], matrices=schemes)})
    made = drawn(mixed, errors("coreml"))
    assert [cell.bits for row in made.rows for cell in row if cell] == [3] * 5 + [4] * 9
