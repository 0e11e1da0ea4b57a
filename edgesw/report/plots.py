"""The plot of a detection: the largest activations around each `down_proj`, with the super weights marked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgesw.errors import UsageError
from edgesw.files.atomic_write import staged
from edgesw.files.writable import check_writable_file
from edgesw.outliers.results import SuperOutliers
from edgesw.recipes.coordinates import Coordinates
from edgesw.system.local_settings import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg")
_LINE, _MARK, _OTHER, _INFLUENTIAL = "#30638e", "#d1495b", "#8d99ae", "#c77d0a"


def check_plot(path: Path) -> None:
    """Raises UsageError if no plot can be written to `path`. To be called before any work."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"--plot '{path}': give a file that ends in {' or '.join(FORMATS)}.")
    check_writable_file(path, "choose another --plot")


def save_plot(figure: Figure, path: Path) -> None:
    """Writes the figure to `path`, over an existing file, in the format of its suffix. Equal figures give equal bytes.

    The file appears only when complete. OSError if it cannot be written.
    """
    kind = path.suffix.lower().removeprefix(".")
    # Without these an SVG holds the time, and names that differ from run to run.
    with staged(path) as (partial,), drawing(**{"svg.hashsalt": "edgesw"}):
        figure.savefig(partial, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)


def detection_plot(found: SuperOutliers, model: str) -> Figure:
    """Max |down_proj input| and |output| by layer on the prompt, as in figure 3 of arXiv 2411.07191."""
    with drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 3.8), layout="constrained")
        figure.suptitle(f"{model}: largest activations around down_proj")
        for axes, peaks in zip(figure.subplots(1, 2), peak_series(found).items(), strict=True):
            draw_peaks(axes, *peaks, found)
    return figure


def peak_series(found: SuperOutliers) -> dict[str, list[float]]:
    """The two curves of a detection by their labels, a value for each layer."""
    return {
        "max |down_proj input|": [peak.input for peak in found.peaks],
        "max |down_proj output|": [peak.output for peak in found.peaks],
    }


def draw_peaks(axes: Axes, label: str, values: list[float], found: SuperOutliers) -> None:
    """Draws one curve into `axes`, with markers at the layers of super weights, of influential scalars and of scalars
    that cancel super activations."""
    axes.plot(range(len(values)), values, color=_LINE, linewidth=1.2, marker=".", markersize=4)
    axes.set(xlabel="layer", ylabel=label, xlim=(-0.5, max(len(values) - 0.5, 0.5)), ylim=(0, 1.15 * max(values)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.locator_params(axis="x", integer=True)
    named = "super weight" if found.confirmed else "super weight, not confirmed"
    _mark(axes, values, [weight.coordinates for weight in found.super_weights], _MARK, named)
    _mark(axes, values, list(found.cancels_at), _OTHER, "cancels a super activation")
    cancelling = set(found.cancels_at)
    influential = [scalar.coordinates for scalar in found.influential if scalar.coordinates not in cancelling]
    _mark(axes, values, influential, _INFLUENTIAL, "influential scalar")
    if found.super_weights or found.cancelling or influential:
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, columnspacing=1, fontsize=8)


def _mark(axes: Axes, values: list[float], places: list[Coordinates], color: str, label: str) -> None:
    """Marks each layer that has some of `places`, with their rows and columns next to the mark."""
    layers = sorted({layer for layer, _, _ in places})
    if not layers:
        return
    axes.plot(layers, [values[layer] for layer in layers], "o", color=color, markersize=6, label=label)
    for layer in layers:
        text = "\n".join(f"[{row}, {column}]" for at, row, column in places if at == layer)
        early = layer < len(values) * 0.6  # then there is more space on the right
        axes.annotate(
            text, (layer, values[layer]), (7 if early else -7, 0), textcoords="offset points", color=color,
            fontsize=9, ha="left" if early else "right", va="center",
        )  # fmt: skip
