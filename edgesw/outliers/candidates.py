"""Candidates: the scalars behind the spikes of a streamed pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from edgesw.outliers.activations import makes, massive, median, stays, taken_out
from edgesw.outliers.found import Coordinates, Scalar
from edgesw.outliers.run import Part, Run, Spike

# One scalar brings at least this share of what down_proj gives. Below that there is no scalar to hold out.
SCALAR_SHARE = 0.1
# A scalar cancels a super activation when it takes at least this share of it away.
CANCELLED_SHARE = 0.25
# Spikes above this many times the median of the stream are reported, though nothing massive comes of them.
WATCHED_RATIO = 100.0
MOST_SUPER_WEIGHTS = 32
MOST_WATCHED = 8


@dataclass(frozen=True)
class Candidates:
    """Scalars by what the float model's stream says of them; only effects tell which are super weights."""

    made: tuple[Scalar, ...]
    """Make a super activation that stays, in the order in which they were found."""
    passing: tuple[Scalar, ...]
    """Make a massive value in the stream that does not stay, or is made too late to tell."""
    cancelling: tuple[Scalar, ...]
    """Take a super activation out again."""
    watched: tuple[tuple[Scalar, float], ...]
    """Make a spike that is not massive, and how many times the median of the stream it is."""
    behind: frozenset[Coordinates] = frozenset()
    """All scalars with a large part in a spike of the above: none of them is ordinary."""


def find_candidates(run: Run) -> Candidates:
    """Candidates on the first prompt of `run`, which has made its first pass.

    The scalar with the largest part in a super activation is zeroed and the pass repeated from its layer, until none is
    made (arXiv 2411.07191, section 3.1). `run` is left as that last pass left it.
    """
    stream, seen = run.stream_of(0), run.seen
    made: list[Scalar] = []
    while len(made) < MOST_SUPER_WEIGHTS:
        spike = first_made(run, 0)
        if spike is None:
            break
        made.append(_scalar(spike, spike.parts[0]))
        run.forward(spike.layer, [scalar.coordinates for scalar in made])
    return _others(tuple(made), stream, [seen[layer].spikes[0] for layer in sorted(seen)])


def first_made(run: Run, prompt: int) -> Spike | None:
    """The spike of the first layer that makes a super activation out of one scalar on this prompt, or None."""
    stream = run.stream_of(prompt)
    for layer in sorted(run.seen):
        spike = run.seen[layer].spikes[prompt]
        if spike.share(spike.parts[0]) >= SCALAR_SHARE and makes(spike, stream) and stays(spike, stream):
            return spike
    return None


def _others(made: tuple[Scalar, ...], stream: Sequence[torch.Tensor], spikes: Sequence[Spike]) -> Candidates:
    known: set[Coordinates] = {scalar.coordinates for scalar in made}
    passing: list[Scalar] = []
    cancelling: list[Scalar] = []
    watched: list[tuple[Scalar, float]] = []
    behind: set[Coordinates] = set(known)
    for spike in spikes:
        parts = [_scalar(spike, part) for part in spike.parts if spike.share(part) >= SCALAR_SHARE]
        parts = [scalar for scalar in parts if scalar.coordinates not in known]
        taken = taken_out(spike, stream)
        if taken:
            shares = {part.column: spike.share(part) for part in spike.parts}
            cancelling += [scalar for scalar in parts if taken * shares[scalar.column] >= CANCELLED_SHARE]
        elif makes(spike, stream):
            passing += parts
        elif parts and abs(spike.added) > WATCHED_RATIO * median(stream[spike.layer + 1]):
            watched.append((parts[0], abs(spike.added) / median(stream[spike.layer + 1])))
        else:
            continue
        behind.update(scalar.coordinates for scalar in parts)
    watched = sorted(sorted(watched, key=lambda entry: -entry[1])[:MOST_WATCHED], key=lambda entry: entry[0].layer)
    return Candidates(made, tuple(passing), tuple(cancelling), tuple(watched), frozenset(behind))


def is_massive_at(run: Run, prompt: int, layer: int, channel: int) -> bool:
    """Whether the channel is massive after the layer, at any token of the prompt."""
    x = run.stream_of(prompt)[layer + 1]
    return float(x[:, channel].abs().max()) > massive(x)


def _scalar(spike: Spike, part: Part) -> Scalar:
    return Scalar(spike.layer, spike.row, part.column, part.weight, part.input, spike.output)
