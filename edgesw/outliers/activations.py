"""Super activations: massive values in the residual stream, the layers that make them, and whether they persist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from edgesw.outliers.results import SuperActivation, SuperWeight
from edgesw.outliers.streamed_pass import Spike

# A hidden state is massive above 100 and above 1,000 times the median magnitude of its layer (arXiv 2402.17762).
MASSIVE, MASSIVE_RATIO = 100.0, 1000.0
# A layer makes a super activation when its MLP adds at least this share of it, ...
MADE_SHARE = 0.5
# ... and at least this share of it persists in the layers that follow.
PERSISTING_SHARE = 0.5


def massive(x: torch.Tensor) -> float:
    """The magnitude above which values of the residual stream `x` (tokens, hidden) are massive."""
    return max(MASSIVE, MASSIVE_RATIO * median(x))


def median(x: torch.Tensor) -> float:
    """The median magnitude, never 0, so that it can be a divisor."""
    return max(float(x.abs().float().median()), 1e-30)


def makes(spike: Spike, stream: Sequence[torch.Tensor]) -> bool:
    """Whether the spike is most of a massive value in the stream (tokens, hidden) after its layer."""
    after = stream[spike.layer + 1]
    made = float(after[spike.token, spike.row])
    return is_massive(spike, stream) and spike.added * made > 0 and abs(spike.added) >= MADE_SHARE * abs(made)


def is_massive(spike: Spike, stream: Sequence[torch.Tensor]) -> bool:
    """Whether the stream is massive at the spike's place after its layer, whatever made it so."""
    after = stream[spike.layer + 1]
    return abs(float(after[spike.token, spike.row])) > massive(after)


def persists(spike: Spike, stream: Sequence[torch.Tensor]) -> bool:
    """Whether the value that the spike makes persists in the stream for an eighth of the decoder's layers."""
    layers = (len(stream) - 1) // 8 + 1
    later = [abs(float(x[spike.token, spike.row])) for x in stream[spike.layer + 1 : spike.layer + 1 + layers]]
    return len(later) == layers and min(later) >= PERSISTING_SHARE * later[0]


def cancelled_share(spike: Spike, stream: Sequence[torch.Tensor]) -> float:
    """The share of a massive value in the stream before its layer that the spike cancels; 0 without such a value."""
    before = float(stream[spike.layer][spike.token, spike.row])
    if abs(before) <= massive(stream[spike.layer]) or spike.added * before >= 0:
        return 0.0
    return abs(spike.added / before)


def carriers(channel: int, stream: Sequence[torch.Tensor]) -> set[int]:
    """The tokens at which the channel is massive after some layer."""
    return {token for x in stream[1:] for token in (x[:, channel].abs() > massive(x)).nonzero()[:, 0].tolist()}


def super_activations(stream: Sequence[torch.Tensor], weights: Sequence[SuperWeight]) -> tuple[SuperActivation, ...]:
    """The massive channels of the residual stream, ordered by `first_layer`, after which they are massive."""
    by_channel: dict[int, SuperActivation] = {}
    for layer, x in enumerate(stream[1:]):
        for token, channel in (x.abs() > massive(x)).nonzero().tolist():
            magnitude = abs(float(x[token, channel]))
            old = by_channel.setdefault(channel, SuperActivation(channel, (), 0.0, layer, layer, False))
            tokens = tuple(sorted({*old.tokens, token}))
            by_channel[channel] = replace(old, tokens=tokens, magnitude=max(old.magnitude, magnitude), last_layer=layer)
    return tuple(
        replace(
            activation,
            from_super_weight=any(w.row == activation.channel and w.layer == activation.first_layer for w in weights),
            magnitudes=tuple(float(x[:, activation.channel].abs().max()) for x in stream[1:]),
        )
        for activation in by_channel.values()
    )
