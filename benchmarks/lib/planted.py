"""Random decoders of every family with super weights planted in them, for benchmarks and tests.

A planted super weight is one scalar of `down_proj` whose neuron fires for one token alone, the trigger, and which
writes a value thousands of times the ordinary into one channel of the residual stream. Later layers read that channel
through attention, so that the model's predictions depend on it: `plant` checks that with transformers itself, and
strengthens the later layers' response until they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import transformers

from benchmarks.lib.garden import FAMILIES, KINDS, Coordinates, Garden, Unlucky
from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.outliers.beginnings import Beginning
from edgesw.outliers.detect import detect
from edgesw.outliers.results import PLAIN, SuperOutliers

__all__ = ["FAMILIES", "KINDS", "Compared", "Planted", "compare", "plant"]


@dataclass(frozen=True)
class Planted:
    """A checkpoint in `folder`, and what detection must find in it on the prompt `ids`."""

    family: str
    kind: str
    folder: Path
    ids: np.ndarray
    super_weights: frozenset[Coordinates]
    cancels_at: frozenset[Coordinates]
    influential: frozenset[Coordinates]
    text: np.ndarray
    """Windows that begin as the prompt does, up to the triggers, int64 (windows, tokens)."""
    divergence: float
    """KL divergence when all super weights are zeroed, by transformers; mean over the tokens after the trigger."""


@dataclass(frozen=True)
class Compared:
    """Super weights, influential and cancelling scalars of a planting that detection missed or made up."""

    missed: frozenset[Coordinates]
    false_alarms: frozenset[Coordinates]
    found: SuperOutliers


def compare(planted: Planted) -> Compared:
    """Runs detection on the planted checkpoint."""
    checkpoint = open_checkpoint(str(planted.folder))
    found = detect(checkpoint.spec, checkpoint, planted.ids, texts=[beginning(planted)])
    pairs = (
        (planted.super_weights, {weight.coordinates for weight in found.super_weights}),
        (planted.cancels_at, set(found.cancels_at)),
        (planted.influential, {scalar.coordinates for scalar in found.influential}),
    )
    missed = frozenset(at for known, seen in pairs for at in known - seen)
    return Compared(missed, frozenset(at for known, seen in pairs for at in seen - known), found)


def beginning(planted: Planted) -> Beginning:
    """The planting's text, for detection."""
    begun = int((planted.text == planted.text[0]).all(0).argmin())
    return Beginning(PLAIN, tuple(planted.ids[:begun].tolist()), planted.ids, lambda: planted.text)


def plant(folder: Path, family: str, kind: str, seed: int) -> Planted:
    """Writes a checkpoint to `folder`. Sizes, prompt and coordinates depend on `seed`: same seed, same bytes."""
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    for attempt in range(60):
        try:
            garden = Garden(
                family, np.random.default_rng([seed, list(FAMILIES).index(family), KINDS.index(kind), attempt])
            )
            divergence = garden.plant(kind)
        except Unlucky:
            continue
        garden.model.save_pretrained(folder)
        return Planted(
            *(family, kind, folder, garden.ids, frozenset(garden.planted), frozenset(garden.cancelling)),
            *(frozenset(garden.influential), garden.text, divergence),
        )
    raise AssertionError(f"no planting of {kind} in {family} carries its model: seed {seed}")
