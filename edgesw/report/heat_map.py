"""The heat map of a report: the error of each matrix as a coloured table, one row per layer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from edgesw.decoder.names import TensorName
from edgesw.package.manifest import Manifest
from edgesw.system.local_settings import drawing
from edgesw.validation.matrices import MatrixError

COLORMAP = "viridis"


@dataclass(frozen=True)
class Cell:
    """One matrix: its error, and how its cell is drawn."""

    text: str
    """The error in percent."""
    bits: int | None
    """Code bits, if the matrices of the model differ in them."""
    color: str
    ink: str
    """The colour of the text."""


@dataclass(frozen=True)
class HeatMap:
    """The matrices of one model of a package, (layers, kinds), coloured from the smallest error to the largest."""

    kinds: tuple[str, ...]
    rows: tuple[tuple[Cell | None, ...], ...]
    """None for a kind that a layer does not have."""
    least: float
    most: float
    colors: tuple[str, ...]
    """The colour scale, from `least` to `most`."""


def heat_map(matrices: Iterable[MatrixError], manifest: Manifest, target: str) -> HeatMap:
    """The heat map of a target. `matrices` are the errors of all targets."""
    with drawing():  # imports matplotlib
        from matplotlib import colormaps
        from matplotlib.colors import to_hex

    errors = {TensorName.parse(each.name): each.error for each in matrices if each.target == target}
    bits = matrix_bits(manifest, target)
    mixed = len({bits.get(str(name)) for name in errors}) > 1
    least, most = min(errors.values()), max(errors.values())
    scale = colormaps[COLORMAP]

    def cell(name: TensorName) -> Cell | None:
        if name not in errors:
            return None
        share = (errors[name] - least) / (most - least) if most > least else 0.0
        red, green, blue, _ = scale(share)
        bright = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
        text = f"{100 * errors[name]:.1f}"
        width = bits.get(str(name)) if mixed else None
        return Cell(text, width, to_hex(scale(share)), "#000" if bright else "#fff")

    kinds = tuple(dict.fromkeys(name.kind for name in errors))
    layers = range(manifest.decoder.layers)
    rows = tuple(tuple(cell(TensorName(layer, kind)) for kind in kinds) for layer in layers)
    return HeatMap(kinds, rows, least, most, tuple(to_hex(scale(step / 8)) for step in range(9)))


def matrix_bits(manifest: Manifest, target: str) -> dict[str, int]:
    """Code bits by matrix name, read from the scheme texts in the manifest."""
    found = {}
    for scheme, names in manifest.models[target].matrices.items():
        if width := re.search(r"(\d+) bits", scheme):
            found.update(dict.fromkeys(names, int(width[1])))
    return found
