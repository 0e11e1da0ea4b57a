"""What a conversion holds out: the super weights that detection and the recipe name, and outlier channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgesw.calibration.outlier_channels import columns_of, joined, outlier_channels_by_matrix, range_channels
from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.compress.hold_out import HoldOut
from edgesw.decoder.names import down_proj
from edgesw.outliers.agreement import RecipeAgreement, compare
from edgesw.outliers.detect import find_outliers
from edgesw.progress import Progress
from edgesw.recipes.coordinates import Coordinates
from edgesw.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class SuperWeights:
    """The super weights to hold out, and how those of the recipe agree with those that were detected."""

    values: dict[Coordinates, float]
    agreement: RecipeAgreement | None = None
    """None where the model has no recipe that names super weights, or nothing is held out."""
    residual_max: float = 0.0
    """The largest magnitude that detection saw in the residual stream."""
    influential: tuple[Coordinates, ...] = ()
    """Scalars whose loss has a clear effect: only their columns are worth holding out. docs/compression.md."""

    def hold_out(
        self,
        mean_squares: Mapping[str, np.ndarray],
        extremes: Mapping[str, np.ndarray] | None = None,
        fraction: float = 0.0,
    ) -> HoldOut:
        """The whole columns of the super weights, which take no more bytes than a scalar of each, and of influential
        scalars; the outlier channels that the inputs' mean squares show, (columns,) by matrix name; the channels that
        set the range of inputs with these `extremes`, (2, columns), where all channels share one; and a `fraction` of
        the scalars."""
        wide = {name: range_channels(mean_squares[name], each) for name, each in (extremes or {}).items()}
        columns = joined(columns_of((*self.values, *self.influential)), outlier_channels_by_matrix(mean_squares), wide)
        return HoldOut({name: each for name, each in columns.items() if each}, fraction=fraction)


def find_super_weights(checkpoint: Checkpoint, tokenizer: Tokenizer, progress: Progress) -> SuperWeights:
    """Returns what detection finds and what only the recipe knows: a scalar too many costs a few bytes, one too few may
    cost the model. Scalars that the recipe marks as disputed count only if they are detected."""
    outliers = find_outliers(checkpoint, tokenizer, progress)
    values = {weight.coordinates: weight.value for weight in outliers.super_weights}
    agreement = compare(checkpoint.source.recipe, outliers, checkpoint.spec)
    for layer, row, column in agreement.only_recipe if agreement else ():
        values[layer, row, column] = float(checkpoint.tensor(down_proj(layer))[row, column])
    influential = tuple(scalar.coordinates for scalar in outliers.influential)
    return SuperWeights(values, agreement, max(peak.residual for peak in outliers.peaks), influential)
