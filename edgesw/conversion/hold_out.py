"""What a conversion holds out: what detection and the recipe name, and the columns whose input spikes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from edgesw.calibration.outlier_channels import columns_of, joined, range_columns, spiking_columns
from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.decoder.names import down_proj
from edgesw.outliers.agreement import RecipeAgreement, compare
from edgesw.outliers.detect import find_outliers
from edgesw.progress import Progress
from edgesw.recipes.coordinates import Coordinates
from edgesw.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class HeldOut:
    """The scalars and columns to hold out, and how the recipe's scalars agree with those that were detected."""

    values: dict[Coordinates, float]
    columns: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """By matrix name. Those of the scalars, as a whole column takes no more room, and those whose input spikes or sets
    the range that it is rounded within."""
    fraction: float = 0.0
    """The share of the scalars of each matrix to hold out beside these: those that rounding harms most."""
    agreement: RecipeAgreement | None = None
    """None where the model has no recipe that names super weights, or nothing is held out."""
    residual_max: float = 0.0
    """The largest magnitude that detection saw in the residual stream."""

    def with_columns(
        self, mean_squares: Mapping[str, np.ndarray], extremes: Mapping[str, np.ndarray] | None = None
    ) -> HeldOut:
        """This, with the columns that the inputs' mean squares, (columns,) by matrix name, show to spike, and those
        that set the range of inputs of these `extremes`, (2, columns), where all columns share one."""
        wide = {name: range_columns(mean_squares[name], each) for name, each in (extremes or {}).items()}
        columns = joined(columns_of(self.values), spiking_columns(mean_squares), wide)
        return replace(self, columns={name: each for name, each in columns.items() if each})


def find_held_out(checkpoint: Checkpoint, tokenizer: Tokenizer, progress: Progress, fraction: float = 0.0) -> HeldOut:
    """What detection finds, and what only the recipe knows: a scalar too many costs a few bytes, one too few may cost
    the model. What a recipe calls disputed counts only if it is detected."""
    outliers = find_outliers(checkpoint, tokenizer, progress)
    values = {weight.coordinates: weight.value for weight in outliers.super_weights}
    agreement = compare(checkpoint.source.recipe, outliers, checkpoint.spec)
    for layer, row, column in agreement.only_recipe if agreement else ():
        values[layer, row, column] = float(checkpoint.tensor(down_proj(layer))[row, column])
    return HeldOut(values, {}, fraction, agreement, max(peak.residual for peak in outliers.peaks))
