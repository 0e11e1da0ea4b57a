"""The figures of a report: errors matrix by matrix, perplexity window by window."""

from __future__ import annotations

import base64
import io
import re
from typing import TYPE_CHECKING

import numpy as np

from edgesw.decoder.names import TensorName
from edgesw.package.manifest import Manifest
from edgesw.validation.validate import ValidationReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLOAT, TARGETS = "#8d99ae", ("#d1495b", "#30638e", "#66a182", "#edae49")


def heat_map(report: ValidationReport, manifest: Manifest, target: str) -> Figure:
    """What each product is off by, layers across and kinds of matrix down; in each field the matrix' code bits."""
    from matplotlib.figure import Figure

    errors = {each.name: each.error for each in report.matrices if each.target == target}
    kinds = list(dict.fromkeys(TensorName.parse(name).kind for name in errors))
    layers = manifest.decoder.layers
    bits = matrix_bits(manifest, target)
    field = np.array([[errors[str(TensorName(layer, kind))] for layer in range(layers)] for kind in kinds])
    figure = Figure(figsize=(10, 0.8 + 0.32 * len(kinds)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(100 * field, aspect="auto", cmap="viridis")
    axes.set(xlabel="layer", yticks=range(len(kinds)), yticklabels=kinds)
    axes.locator_params(axis="x", integer=True)
    half = 50 * (field.max() + field.min())
    for row, kind in enumerate(kinds):
        for layer in range(layers):
            color = "black" if 100 * field[row, layer] > half else "white"
            label = str(bits.get(str(TensorName(layer, kind)), ""))
            axes.text(layer, row, label, ha="center", va="center", fontsize=7, color=color)
    figure.colorbar(image, ax=axes, label="off by, %")
    return figure


def matrix_bits(manifest: Manifest, target: str) -> dict[str, int]:
    """Code bits by matrix name, as the manifest's words for its schemes have them."""
    found = {}
    for scheme, names in manifest.models[target].matrices.items():
        if width := re.search(r"(\d+) bits", scheme):
            found.update(dict.fromkeys(names, int(width[1])))
    return found


def windows_plot(report: ValidationReport) -> Figure:
    """Perplexity of each window, of the float model and of each target."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3), layout="constrained")
    axes = figure.subplots()
    numbers = np.arange(1, report.windows + 1)
    lines = {"float": next(iter(report.targets.values())).float_window_perplexities}
    lines |= {name: result.window_perplexities for name, result in report.targets.items()}
    width = 0.8 / len(lines)
    for at, ((name, values), color) in enumerate(zip(lines.items(), (FLOAT, *TARGETS), strict=False)):
        axes.bar(numbers + (at - (len(lines) - 1) / 2) * width, values, width, color=color, label=name)
    axes.set(xlabel="window", ylabel="perplexity", xticks=numbers)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=len(lines), loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def data_uri(figure: Figure) -> str:
    """The figure as an SVG in a URI: a page needs no file beside it. Equal figures, equal bytes."""
    from matplotlib import rc_context

    drawn = io.BytesIO()
    with rc_context({"svg.hashsalt": "edgesw"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(drawn.getvalue()).decode()
