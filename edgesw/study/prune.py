"""Prune: the model without its super weights, compared with many other large weights (arXiv 2411.07191, table 1)."""

from __future__ import annotations

import torch

from edgesw.decoder.weights import places_of, scaled
from edgesw.recipes.coordinates import Coordinates
from edgesw.study.evaluation import Condition, Evaluation
from edgesw.study.largest import default_count, largest_others
from edgesw.study.result import ACCURACY, AGREEMENT, PERPLEXITY, Column, Findings

TITLE = "super weights removed"
COLUMNS = (
    Column("condition", "condition"),
    Column("removed", "removed", ",d"),
    PERPLEXITY,
    ACCURACY,
    AGREEMENT,
)
# Without the super weights their channel shifts at many tokens. A spike is a token with at least this share of the
# largest shift; only spikes are restored.
SPIKE_SHARE = 0.1


def run(evaluation: Evaluation) -> Findings:
    """Zeroes each super weight, all of them, all with the super activation restored, and the largest other weights."""
    spec, weights, found = evaluation.spec, evaluation.weights, evaluation.coordinates
    everything = places_of(found)
    zeroed = scaled(weights, everything, 0)
    restore = Restore(evaluation)
    largest = largest_others(
        spec,
        weights,
        default_count(spec),
        everything,
        lambda done: evaluation.progress("Largest others", "", done, len(spec.matrices())),
    )
    planned = [
        (evaluation.float, 0),
        *((_alone(evaluation, scalar), 1) for scalar in (found if len(found) > 1 else [])),
        (Condition("all super weights zeroed", zeroed, evaluation.first), len(found)),
        (
            Condition("the same, super activation restored", zeroed, evaluation.first, after=restore),
            len(found),
        ),
        (Condition("the largest others zeroed", scaled(weights, largest.places, 0)), largest.count),
    ]
    results = evaluation.measure_all("prune", [condition for condition, _ in planned])
    rows = tuple(
        {"condition": condition.name, "removed": removed, **vars(result)}
        for (condition, removed), result in zip(planned, results, strict=True)
    )
    smallest = min(abs(weight.value) for weight in evaluation.super_weights)
    channels = ", ".join(f"{row} after layer {layer}" for layer, row in sorted(evaluation.channels))
    notes = (
        f"The {largest.count:,} largest other weights of the layers' matrices have a magnitude of "
        f"{largest.smallest:.2f} or more; the super weights, of {smallest:.2f} or more.",
        f"Restored: {restore.entries:,} of {evaluation.ids.size:,} tokens, in channel {channels}.",
    )
    return Findings(COLUMNS, rows, notes)


class Restore:
    """Restores the float model's spikes in the channels that super weights write to, right after their layers.

    A spike is a token at which the channel deviates by at least `SPIKE_SHARE` of its largest deviation.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self._channels = evaluation.channels
        self.entries = 0  # values restored in the last run

    def __call__(self, layer: int, x: torch.Tensor) -> None:
        if layer == min(at for at, _ in self._channels):
            self.entries = 0
        for (at, row), expected in self._channels.items():
            if at == layer:
                deviation = (expected - x[..., row]).abs()
                # A text without a super activation has nothing to restore.
                spikes = (deviation >= SPIKE_SHARE * deviation.max()) & (deviation > 0)
                x[..., row] = torch.where(spikes, expected, x[..., row])
                self.entries += int(spikes.sum())


def _alone(evaluation: Evaluation, scalar: Coordinates) -> Condition:
    weights = scaled(evaluation.weights, places_of([scalar]), 0)
    layer, row, column = scalar
    return Condition(f"({layer}, {row}, {column}) zeroed", weights, layer)
