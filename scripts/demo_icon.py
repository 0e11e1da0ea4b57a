"""Draws the demo app's icon: a matrix of quantized cells with one super weight. Needs Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

FOLDER = Path(__file__).parents[1] / "apps/ios-demo/EdgeSWDemo/Resources/Assets.xcassets/AppIcon.appiconset"
SIZE, SCALE = 1024, 2  # drawn larger, then scaled down, for smooth corners
CELLS, SPIKE = 7, (3, 4)  # cells per side; row and column of the super weight


class Look(NamedTuple):
    """The colours of one appearance, RGB. `levels` are the values of a 2-bit weight."""

    ground: tuple[int, int, int]
    levels: tuple[tuple[int, int, int], ...]
    spike: tuple[int, int, int]
    glow: tuple[int, int, int]


LOOKS = {
    "light": Look((244, 245, 247), ((226, 229, 234), (203, 208, 216), (172, 179, 190), (136, 144, 158)),
                  (255, 149, 0), (255, 176, 59)),
    "dark": Look((18, 20, 26), ((32, 35, 44), (47, 52, 64), (67, 73, 88), (92, 99, 117)),
                 (255, 176, 59), (255, 140, 0)),
    # The system tints the bright parts.
    "tinted": Look((0, 0, 0), ((26, 26, 26), (44, 44, 44), (66, 66, 66), (92, 92, 92)),
                   (255, 255, 255), (190, 190, 190)),
}  # fmt: skip


def icon(look: Look) -> Image.Image:
    """Returns the icon, 1024 x 1024, without an alpha channel: the system rounds the corners."""
    side = SIZE * SCALE
    image = Image.new("RGB", (side, side), look.ground)
    draw = ImageDraw.Draw(image)
    margin, gap = side * 0.11, side * 0.018
    cell = (side - 2 * margin + gap) / CELLS - gap
    levels = np.random.default_rng(11).integers(0, len(look.levels), (CELLS, CELLS))

    def box(row: int, column: int, grow: float = 0.0) -> tuple[float, float, float, float]:
        left, top = (margin + at * (cell + gap) - grow for at in (column, row))
        return left, top, left + cell + 2 * grow, top + cell + 2 * grow

    for row in range(CELLS):
        for column in range(CELLS):
            draw.rounded_rectangle(box(row, column), cell * 0.18, look.levels[levels[row, column]])
    halo = Image.new("L", (side, side), 0)
    ImageDraw.Draw(halo).rounded_rectangle(box(*SPIKE, grow=cell * 0.55), cell * 0.5, 235)
    halo = halo.filter(ImageFilter.GaussianBlur(cell * 0.42))
    image.paste(Image.new("RGB", image.size, look.glow), mask=halo)
    ImageDraw.Draw(image).rounded_rectangle(box(*SPIKE, grow=cell * 0.14), cell * 0.26, look.spike)
    return image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    for name, look in LOOKS.items():
        icon(look).save(FOLDER / f"{name}.png", optimize=True)
