"""Measures a package against the float model, window by window."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from edgesw.runtime.packaged_decoder import PackagedDecoder, feed


@dataclass(frozen=True)
class Agreement:
    """How a decoder compares with the float model, over all predicted positions."""

    runtime: str
    perplexity: float
    float_perplexity: float
    kl_divergence: float  # mean KL(float || package), nats
    top1_agreement: float  # share of positions with the same most likely token
    positions: int
    kl_99th: float = math.nan  # what one position in a hundred is above, nats
    top5_agreement: float = (
        math.nan
    )  # share of positions whose float most likely token is among the package's first five
    window_perplexities: tuple[float, ...] = ()
    float_window_perplexities: tuple[float, ...] = ()

    @property
    def increase(self) -> float:
        """Relative increase in perplexity: 0.05 is 5% above float."""
        return self.perplexity / self.float_perplexity - 1

    def passes(self, most: float) -> bool:
        """Whether the increase is at most `most`. A perplexity that is infinite or not a number never passes."""
        return math.isfinite(self.perplexity) and math.isfinite(self.float_perplexity) and self.increase <= most

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "increase": self.increase}


class _Sums:
    """Sums of what `Agreement` reports, window by window."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.float_losses: list[float] = []
        self.divergences: list[torch.Tensor] = []
        self.same = self.near = self.positions = 0

    def add(self, ids: np.ndarray, reference: torch.Tensor, logits: np.ndarray) -> None:
        """One window (tokens,): `reference` are the float model's log probabilities (tokens - 1, vocabulary)."""
        ours = torch.log_softmax(torch.from_numpy(logits[:-1]), -1)
        at, following = torch.arange(len(ids) - 1), torch.from_numpy(ids[1:])
        self.losses.append(-float(ours[at, following].double().mean()))
        self.float_losses.append(-float(reference[at, following].double().mean()))
        self.divergences.append((reference.exp() * (reference - ours)).sum(-1).double())
        likeliest = reference.argmax(-1)
        first = ours.topk(min(5, ours.shape[-1])).indices
        self.same += int((likeliest == first[:, 0]).sum())
        self.near += int((likeliest[:, None] == first).any(-1).sum())
        self.positions += len(ids) - 1

    def agreement(self, runtime: str) -> Agreement:
        divergences = torch.cat(self.divergences)
        return Agreement(
            runtime,
            _perplexity(sum(self.losses) / len(self.losses)),  # windows have the same length
            _perplexity(sum(self.float_losses) / len(self.losses)),
            float(divergences.mean()),
            self.same / self.positions,
            self.positions,
            float(divergences.quantile(0.99)),
            self.near / self.positions,
            tuple(map(_perplexity, self.losses)),
            tuple(map(_perplexity, self.float_losses)),
        )


def measure(
    ids: np.ndarray, reference: Iterable[np.ndarray], decoders: list[PackagedDecoder]
) -> Iterator[list[Agreement]]:
    """Yields, after each window of `ids` (windows, tokens), the agreement of each decoder so far.

    `reference` gives the float model's logits of each window, (tokens, vocabulary). The first token of a window is not
    predicted, so it does not count.
    """
    sums = [_Sums() for _ in decoders]
    for window, logits in zip(ids, reference, strict=True):
        expected = torch.log_softmax(torch.from_numpy(logits[:-1]), -1)
        for decoder, total in zip(decoders, sums, strict=True):
            decoder.reset()
            total.add(window, expected, feed(decoder, window))
        yield [total.agreement(decoder.runtime) for decoder, total in zip(decoders, sums, strict=True)]


def _perplexity(mean: float) -> float:
    return math.exp(mean) if mean < 700 else math.inf
