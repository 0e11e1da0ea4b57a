"""The plot of `edgesw compare`: it must say which point is which package."""

from __future__ import annotations

import math
import random
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from edgesw.report.plots import save_plot
from edgesw.report.tradeoff import Point, spread, tradeoff_plot

NEAR = [Point("smollm2-135m-4bit, coreml", 94_849_000, 0.0308), Point("smollm2-135m-4bit, onnx", 94_300_000, 0.0334)]
SETS = {
    "the two targets of a package": NEAR,
    "identical": [Point("one, onnx", 10**8, 0.03)] * 2,
    "identical and near": [NEAR[0], NEAR[0], *NEAR],
    "not distinguishable from float": [Point(f"{at}, onnx", 96_000, 0.0) for at in range(3)],
    "not finite": [*NEAR, Point("nan, onnx", 10**8, math.nan), Point("infinite, onnx", 10**8, math.inf)],
    "nothing finite": [Point("nan, onnx", 10**8, math.nan)] * 2,
    "thirty in one place": [Point(f"{at}, onnx", 10**8 + at, 0.03) for at in range(30)],
    "long names": [Point(f"/{'folder/' * 40}{at}, onnx", 10**8, 0.03) for at in range(3)],
    "names that look like formulas": [Point("a$_$, onnx", 10**8, 0.1), Point("b$\\frac$, onnx", 10**8, 0.1)],
}


def label_boxes(points: list[Point]) -> tuple[list[Bbox], Bbox]:
    """Where the labels are drawn, in pixels, and the whole picture."""
    figure = tradeoff_plot(points)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (axes,) = figure.axes
    # Without the lines that lead to an annotation.
    return [Text.get_window_extent(label, canvas.get_renderer()) for label in axes.texts], figure.bbox


@pytest.mark.parametrize("points", SETS.values(), ids=SETS)
def test_no_label_overlaps_another_or_leaves_the_picture(points: list[Point]) -> None:
    """The targets of one package have nearly the same size and divergence: names over each other say nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        boxes, picture = label_boxes(points)
    assert len(boxes) == len(points)
    for at, box in enumerate(boxes):
        assert box.width > 0 and not any(box.overlaps(other) for other in boxes[:at])
        assert picture.x0 <= box.x0 and box.x1 <= picture.x1 and picture.y0 <= box.y0 and box.y1 <= picture.y1


def test_labels_of_random_points_do_not_overlap() -> None:
    numbers = random.Random(3)
    for count in (2, 9, 60):
        points = [
            Point(f"{at}, onnx", numbers.randint(10**6, 10**10), 10 ** numbers.uniform(-5, 1)) for at in range(count)
        ]
        boxes, _ = label_boxes(points)
        assert not any(box.overlaps(other) for at, box in enumerate(boxes) for other in boxes[:at])


def test_labels_are_in_the_order_of_their_points() -> None:
    """Lines to the labels would cross, and a label would stand next to another package's point."""
    points = [Point("worst, onnx", 10**8, 0.3), Point("best, onnx", 10**8, 0.001), Point("middle, onnx", 10**8, 0.02)]
    labels = tradeoff_plot(points).axes[0].texts
    heights = {label.get_text(): label.get_position()[1] for label in labels}
    assert sorted(heights, key=heights.__getitem__) == ["best, onnx", "middle, onnx", "worst, onnx"]


@pytest.mark.parametrize("heights", [[], [0.5], [0.5] * 5, [0.0, 0.0, 1.0, 1.0], [1.0] * 4, [0.1, 0.9]])
def test_heights_are_moved_apart_within_the_axes(heights: list[float]) -> None:
    moved = spread(heights, 0.2)
    assert all(high - low > 0.2 - 1e-9 for low, high in pairwise(moved))
    assert all(-1e-9 < height < 1 + 1e-9 for height in moved)
    if heights == [0.1, 0.9]:
        assert moved == heights, "labels that are far enough apart stay at their points"


def test_equal_comparisons_give_equal_files(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg", "a.png"):
        save_plot(tradeoff_plot(NEAR), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert imread(tmp_path / "a.png")[..., :3].mean() < 0.99
