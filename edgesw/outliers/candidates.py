"""Candidates: the scalars that cause the spikes of a streamed pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch

from edgesw.outliers.activations import cancelled_share, is_massive, makes, massive, median, persists
from edgesw.outliers.results import PLAIN, Scalar
from edgesw.outliers.streamed_pass import Part, Run, Spike
from edgesw.recipes.coordinates import Coordinates

# A candidate contributes at least this share of down_proj's output. Below that no single scalar is worth holding out.
SCALAR_SHARE = 0.1
# A scalar cancels a super activation when it subtracts at least this share of it.
CANCELLED_SHARE = 0.25
# Spikes above this many times the median of the stream are reported even if they make nothing massive.
WATCHED_RATIO = 100.0
MOST_SUPER_WEIGHTS = 32
MOST_WATCHED = 8
# Without its usual input a neuron may fire wildly and write to every channel: a layer is skipped after this many of its
# scalars made a super activation only where others were zeroed.
MOST_INDUCED = 4


@dataclass(frozen=True)
class Candidates:
    """Scalars by their part in the float model's residual stream; only their effects show which are super weights."""

    made: tuple[Scalar, ...]
    """Make a super activation that persists, in the order in which they were found."""
    passing: tuple[Scalar, ...]
    """Make a massive value that does not persist, or too late for that to show."""
    cancelling: tuple[Scalar, ...]
    """Cancel a super activation."""
    ruled_out: tuple[tuple[Scalar, str], ...]
    """Make a spike that is not a super activation of the float model, with the reason why not."""
    involved: frozenset[Coordinates] = frozenset()
    """All scalars with a large part in any of these spikes: none of them is an ordinary scalar."""

    @property
    def groups(self) -> list[tuple[Scalar, ...]]:
        """Those that make a massive value at the same token, and may replace each other, together; others singly."""
        together: dict[int, tuple[Scalar, ...]] = {}
        for scalar in (*self.made, *self.passing):
            together[scalar.token] = (*together.get(scalar.token, ()), scalar)
        single = (*self.cancelling, *(scalar for scalar, _ in self.ruled_out))
        return [*together.values(), *((scalar,) for scalar in single)]

    def besides(self, known: Collection[Coordinates]) -> Candidates:
        """These without what is `known`. A scalar that others may replace stays if one of these is not known."""
        new = {
            scalar
            for group in self.groups
            if any(scalar.coordinates not in known for scalar in group)
            for scalar in group
        }
        return Candidates(
            tuple(scalar for scalar in self.made if scalar in new),
            tuple(scalar for scalar in self.passing if scalar in new),
            tuple(scalar for scalar in self.cancelling if scalar in new),
            tuple((scalar, why) for scalar, why in self.ruled_out if scalar in new),
            self.involved,
        )


def find_candidates(run: Run, prompt: int = 0, name: str = PLAIN) -> tuple[Candidates, Run]:
    """Candidates on a prompt of `run`, the first pass, and the last pass that it took to find them. `name` is how the
    prompt begins.

    The scalar with the largest part in a super activation is zeroed and the pass repeated from its layer, until none is
    made (arXiv 2411.07191, section 3.1).
    """
    stream = run.stream_of(prompt)
    spikes = [run.layers[layer].spikes[prompt] for layer in sorted(run.layers)]
    cancelling = _cancelling(stream, spikes)
    cancels_at = {scalar.coordinates for scalar in cancelling}
    made: list[Scalar] = []
    induced: list[Scalar] = []
    removed: list[Coordinates] = []
    while len(removed) < MOST_SUPER_WEIGHTS:
        skipped = {layer for layer, count in Counter(s.layer for s in induced).items() if count >= MOST_INDUCED}
        spike = first_made(run, prompt, skipped)
        if spike is None:
            break
        scalar = _scalar(spike, spike.parts[0])
        removed.append(scalar.coordinates)
        if scalar.coordinates not in cancels_at:
            (made if is_massive(spike, stream) else induced).append(scalar)
        run = run.repeat(spike.layer, removed)
    known = {*removed, *cancels_at}
    passing, watched = _others(stream, spikes, known)
    why = "makes a super activation only where others are zeroed"
    ruled_out = (*((scalar, why) for scalar in induced), *watched)
    others = {scalar.coordinates for scalar in passing} | {scalar.coordinates for scalar, _ in watched}
    found = (*made, *passing, *cancelling, *(scalar for scalar, _ in ruled_out))
    named = {scalar: replace(scalar, prompt=name) for scalar in found}
    return Candidates(
        tuple(named[scalar] for scalar in made),
        tuple(named[scalar] for scalar in passing),
        tuple(named[scalar] for scalar in cancelling),
        tuple((named[scalar], why) for scalar, why in ruled_out),
        frozenset(known | others),
    ), run


def first_made(run: Run, prompt: int, without: Collection[int] = ()) -> Spike | None:
    """The spike of the first layer in which a single scalar makes a super activation on this prompt, or None.
    `without`: layers to skip."""
    stream = run.stream_of(prompt)
    for layer in sorted(run.layers.keys() - set(without)):
        spike = run.layers[layer].spikes[prompt]
        if spike.share(spike.parts[0]) >= SCALAR_SHARE and makes(spike, stream) and persists(spike, stream):
            return spike
    return None


def _cancelling(stream: Sequence[torch.Tensor], spikes: Sequence[Spike]) -> list[Scalar]:
    return [
        _scalar(spike, part)
        for spike in spikes
        for part in spike.parts
        if cancelled_share(spike, stream) * spike.share(part) >= CANCELLED_SHARE
    ]


def _others(
    stream: Sequence[torch.Tensor], spikes: Sequence[Spike], known: set[Coordinates]
) -> tuple[list[Scalar], list[tuple[Scalar, str]]]:
    """Scalars that make a massive value and are not `known`, and those whose spike is large but not massive."""
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
    why = "not a super activation: its spike is {:,.0f} times the median"
    by_layer = sorted(most, key=lambda entry: entry[1].layer)
    return passing, [(scalar, why.format(ratio)) for ratio, scalar in by_layer]


def is_massive_at(run: Run, prompt: int, layer: int, channel: int) -> bool:
    """Whether the channel is massive after the layer, at any token of the prompt."""
    x = run.stream_of(prompt)[layer + 1]
    return float(x[:, channel].abs().max()) > massive(x)


def _scalar(spike: Spike, part: Part) -> Scalar:
    return Scalar(spike.layer, spike.row, part.column, part.weight, part.input, spike.output, spike.token)
