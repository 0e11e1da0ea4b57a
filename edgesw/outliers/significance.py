"""Significance: the effect of zeroing each candidate, compared with that of zeroing ordinary scalars."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from edgesw.decoder.names import down_proj
from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.outliers.ablation_kl import Removal, divergences
from edgesw.outliers.activations import carriers
from edgesw.outliers.candidates import Candidates
from edgesw.outliers.results import Effect, Scalar
from edgesw.recipes.coordinates import Coordinates

# A super weight has at least this many times the effect of its null. docs/detection.md has the margins it was set by.
TIMES_NULL = 5.0
# The null is at least this, in nats, so that rounding alone never looks like an effect.
NULL_FLOOR = 0.005
# The effect of a scalar in addition to others counts when it is at least this share of the joint effect: a model that
# is already destroyed predicts something else after any further change.
DECIDING_SHARE = 1 / 3


@dataclass(frozen=True)
class _Group:
    """Candidates that act on the same token and may replace each other, and as many ordinary scalars."""

    scalars: tuple[Scalar, ...]
    positions: tuple[int, ...]
    ordinary: Removal

    def removals(self) -> list[Removal]:
        """The sets to measure: each scalar alone, all, all but one, the first few, the last few, and the null."""
        places = [scalar.coordinates for scalar in self.scalars]
        count = range(len(places))
        chosen = [{places[i]} for i in count] + [{*places[:i], *places[i + 1 :]} for i in count]
        chosen += [set(places[: i + 1]) for i in count] + [set(places[i:]) for i in count]
        return [frozenset(one) for one in chosen if one] + [self.ordinary, self.ordinary | frozenset(places)]

    def effect(self, index: int, measured: dict[Removal, np.ndarray]) -> Effect:
        """The effect of the scalar with this index."""
        places = [scalar.coordinates for scalar in self.scalars]

        def of(*removed: tuple[int, int, int]) -> float:
            if not removed:
                return 0.0
            return float(measured[frozenset(removed)][list(self.positions)].mean())

        joint, alone = of(*places), of(places[index])
        before, after = places[:index], places[index + 1 :]
        gains = [
            of(*others, places[index], *also) - of(*others, *also)
            for others, also in ((before, after), (before, []), ([], after))
            if others or also
        ]
        on_top = max((gain for gain in gains if gain >= DECIDING_SHARE * joint), default=0.0)
        null, null_on_top = of(*self.ordinary), abs(of(*self.ordinary, *places) - joint)
        return Effect(alone, joint, on_top, max(null, NULL_FLOOR), max(null_on_top, NULL_FLOOR))


def measure(
    spec: DecoderSpec,
    weights: Weights,
    ids: np.ndarray,
    stream: Sequence[torch.Tensor],
    candidates: Candidates,
    dtype: torch.dtype,
    progress: Callable[[int], None] | None,
) -> dict[Scalar, Effect]:
    """The effect of each candidate on the prompt `ids` (tokens,), whose float residual stream is (tokens, hidden)."""
    sets = candidates.groups
    if not sets:
        return {}
    ordinary = _as_many_ordinary(weights, sets, candidates.involved)
    groups = [
        _Group(scalars, _later({scalar.row for scalar in scalars}, stream), null)
        for scalars, null in zip(sets, ordinary, strict=True)
    ]
    removals = [removal for group in groups for removal in group.removals()]
    measured = divergences(spec, weights, ids, [x[None] for x in stream], removals, dtype, progress)
    return {scalar: group.effect(index, measured) for group in groups for index, scalar in enumerate(group.scalars)}


def _later(channels: Iterable[int], stream: Sequence[torch.Tensor]) -> tuple[int, ...]:
    """The positions at which an effect counts: those after the first that carries a super activation in these channels,
    except carriers. There the scalar affects how the model continues a text; at a carrier it also decides what follows
    that token alone, as does any scalar that cancels the activation. All positions if none are left."""
    tokens = len(stream[0])
    carrying = set().union(*(carriers(channel, stream) for channel in channels))
    later = [token for token in range(min(carrying, default=-1) + 1, tokens) if token not in carrying]
    return tuple(later or range(tokens))


def _as_many_ordinary(weights: Weights, sets: Sequence[Sequence[Scalar]], involved: Removal) -> list[Removal]:
    """For each set of candidates, as many of the largest ordinary scalars of the same matrices."""
    chosen: list[set[Coordinates]] = [set() for _ in sets]
    for layer in sorted({scalar.layer for scalars in sets for scalar in scalars}):
        counts = [sum(scalar.layer == layer for scalar in scalars) for scalars in sets]
        largest = largest_ordinary(weights, layer, involved, max(counts))
        for removal, count in zip(chosen, counts, strict=True):
            removal.update(place for _, place in largest[:count])
    return [frozenset(removal) for removal in chosen]


def largest_ordinary(weights: Weights, layer: int, involved: Removal, count: int) -> list[tuple[float, Coordinates]]:
    """The `count` largest scalars of a layer's `down_proj` that are not `involved` in a spike, with their magnitudes,
    the largest first."""
    values = np.abs(weights.tensor(down_proj(layer)))
    for _, row, column in (place for place in involved if place[0] == layer):
        values[row, column] = 0
    count = min(count, values.size)
    largest = np.argpartition(values, values.size - count, axis=None)[values.size - count :]
    largest = largest[np.argsort(-values.ravel()[largest], kind="stable")]
    rows, columns = (each.tolist() for each in np.unravel_index(largest, values.shape))
    return [(float(values[row, column]), (layer, row, column)) for row, column in zip(rows, columns, strict=True)]
