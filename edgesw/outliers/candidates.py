"""Candidates: the scalars behind the spikes of a streamed pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from edgesw.outliers.activations import is_massive, makes, massive, median, stays, taken_out
from edgesw.outliers.results import Scalar
from edgesw.outliers.streamed_pass import Part, Run, Spike
from edgesw.recipes.coordinates import Coordinates

# One scalar brings at least this share of what down_proj gives. Below that there is no scalar to hold out.
SCALAR_SHARE = 0.1
# A scalar cancels a super activation when it takes at least this share of it away.
CANCELLED_SHARE = 0.25
# Spikes above this many times the median of the stream are reported, though nothing massive comes of them.
WATCHED_RATIO = 100.0
MOST_SUPER_WEIGHTS = 32
MOST_WATCHED = 8
# Once its usual input is gone a neuron may fire wildly, and write to every channel: after so many scalars of a layer
# that make a super activation only then, the layer is left alone.
MOST_ONLY_THEN = 4


@dataclass(frozen=True)
class Candidates:
    """Scalars by what the float model's stream says of them; only effects tell which are super weights."""

    made: tuple[Scalar, ...]
    """Make a super activation that stays, in the order in which they were found."""
    passing: tuple[Scalar, ...]
    """Make a massive value in the stream that does not stay, or is made too late to tell."""
    cancelling: tuple[Scalar, ...]
    """Take a super activation out again."""
    ruled_out: tuple[tuple[Scalar, str], ...]
    """Make a spike that is no super activation of the float model, and why it is not."""
    behind: frozenset[Coordinates] = frozenset()
    """All scalars with a large part in a spike of the above: none of them is ordinary."""


def find_candidates(run: Run) -> tuple[Candidates, Run]:
    """Candidates on the first prompt of `run`, the first pass, and the last pass that it took to find them.

    The scalar with the largest part in a super activation is zeroed and the pass repeated from its layer, until none is
    made (arXiv 2411.07191, section 3.1).
    """
    stream = run.stream_of(0)
    spikes = [run.seen[layer].spikes[0] for layer in sorted(run.seen)]
    cancelling = _cancelling(stream, spikes)
    cancels_at = {scalar.coordinates for scalar in cancelling}
    made: list[Scalar] = []
    only_then: list[Scalar] = []
    removed: list[Coordinates] = []
    while len(removed) < MOST_SUPER_WEIGHTS:
        wild = {layer for layer, count in Counter(s.layer for s in only_then).items() if count >= MOST_ONLY_THEN}
        spike = first_made(run, 0, wild)
        if spike is None:
            break
        scalar = _scalar(spike, spike.parts[0])
        removed.append(scalar.coordinates)
        if scalar.coordinates not in cancels_at:
            (made if is_massive(spike, stream) else only_then).append(scalar)
        run = run.repeat(spike.layer, removed)
    known = {*removed, *cancels_at}
    passing, watched = _others(stream, spikes, known)
    why = "makes a super activation only where others are zeroed"
    ruled_out = (*((scalar, why) for scalar in only_then), *watched)
    behind = {scalar.coordinates for scalar in passing} | {scalar.coordinates for scalar, _ in watched}
    return Candidates(tuple(made), tuple(passing), tuple(cancelling), ruled_out, frozenset(known | behind)), run


def first_made(run: Run, prompt: int, without: Collection[int] = ()) -> Spike | None:
    """The spike of the first layer that makes a super activation out of one scalar on this prompt, or None. `without`:
    layers to pass over."""
    stream = run.stream_of(prompt)
    for layer in sorted(run.seen.keys() - set(without)):
        spike = run.seen[layer].spikes[prompt]
        if spike.share(spike.parts[0]) >= SCALAR_SHARE and makes(spike, stream) and stays(spike, stream):
            return spike
    return None


def _cancelling(stream: Sequence[torch.Tensor], spikes: Sequence[Spike]) -> list[Scalar]:
    return [
        _scalar(spike, part)
        for spike in spikes
        for part in spike.parts
        if taken_out(spike, stream) * spike.share(part) >= CANCELLED_SHARE
    ]


def _others(
    stream: Sequence[torch.Tensor], spikes: Sequence[Spike], known: set[Coordinates]
) -> tuple[list[Scalar], list[tuple[Scalar, str]]]:
    """Scalars that make a massive value which the loop passed over, and those whose spike is large but not massive."""
    passing: list[Scalar] = []
    watched: list[tuple[float, Scalar]] = []
    for spike in spikes:
        parts = [_scalar(spike, part) for part in spike.parts if spike.share(part) >= SCALAR_SHARE]
        parts = [scalar for scalar in parts if scalar.coordinates not in known]
        ratio = abs(spike.added) / median(stream[spike.layer + 1])
        if makes(spike, stream):
            passing += parts
        elif ratio > WATCHED_RATIO:
            watched += [(ratio, scalar) for scalar in parts]
    most = sorted(watched, key=lambda entry: -entry[0])[:MOST_WATCHED]
    why = "no super activation: its spike is {:,.0f} times the median"
    by_layer = sorted(most, key=lambda entry: entry[1].layer)
    return passing, [(scalar, why.format(ratio)) for ratio, scalar in by_layer]


def is_massive_at(run: Run, prompt: int, layer: int, channel: int) -> bool:
    """Whether the channel is massive after the layer, at any token of the prompt."""
    x = run.stream_of(prompt)[layer + 1]
    return float(x[:, channel].abs().max()) > massive(x)


def _scalar(spike: Spike, part: Part) -> Scalar:
    return Scalar(spike.layer, spike.row, part.column, part.weight, part.input, spike.output, spike.token)
