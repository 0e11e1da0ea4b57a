"""Measures a package against the float model, window by window."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from edgesw.runtime.packaged_decoder import PackagedDecoder, feed

AT_ONCE = 1 << 22
"""Probabilities computed at a time. A whole window's are so large that every step would ask the system for memory."""


@dataclass(frozen=True)
class Agreement:
    """How a decoder compares with the float model, over all predicted positions."""

    runtime: str
    perplexity: float
    float_perplexity: float
    kl_divergence: float
    """Mean KL(float || package), nats."""
    top1_agreement: float
    """Share of positions with the same most likely token."""
    positions: int
    kl_99th: float = math.nan
    """The KL divergence that one position in a hundred is above, nats."""
    top5_agreement: float = math.nan
    """Share of positions whose float most likely token is among the package's first five."""
    window_perplexities: tuple[float, ...] = ()
    float_window_perplexities: tuple[float, ...] = ()
    loss_error: float = math.nan
    """Standard error of the mean difference in loss, nats: that of the logarithm of `perplexity / float_perplexity`."""
    kinds: dict[str, Agreement] = field(default_factory=dict)
    """The same over the windows of each kind of text, where there are kinds."""

    @property
    def increase(self) -> float:
        """Relative increase in perplexity: 0.05 is 5% above float."""
        return self.perplexity / self.float_perplexity - 1

    @property
    def cells(self) -> tuple[str, ...]:
        """Perplexity, float perplexity, increase, KL mean and 99th percentile, top-1 and top-5, as tables show them."""
        return (
            f"{self.perplexity:,.3f}",
            f"{self.float_perplexity:,.3f}",
            f"{self.increase:+.1%}",
            f"{self.kl_divergence:.4f}",
            f"{self.kl_99th:.3f}",
            f"{self.top1_agreement:.1%}",
            f"{self.top5_agreement:.1%}",
        )

    def to_dict(self) -> dict[str, Any]:
        own = {**asdict(self), "increase": self.increase}
        return {**own, "kinds": {kind: one.to_dict() for kind, one in self.kinds.items()}}


@dataclass(frozen=True)
class _Window:
    """Figures of one window, of each predicted position: (tokens - 1,)."""

    kind: str
    loss: torch.Tensor
    float_loss: torch.Tensor
    divergence: torch.Tensor
    same: torch.Tensor
    near: torch.Tensor


def _window(kind: str, ids: np.ndarray, reference: torch.Tensor, logits: np.ndarray) -> _Window:
    """`reference` are the float model's log probabilities (tokens - 1, vocabulary) over the ids (tokens,)."""
    step, parts = max(1, AT_ONCE // logits.shape[-1]), []
    for at in range(0, max(1, len(ids) - 1), step):
        theirs, ours = reference[at : at + step], torch.log_softmax(torch.from_numpy(logits[:-1][at : at + step]), -1)
        each, following = torch.arange(len(ours)), torch.from_numpy(ids[1:][at : at + step])
        likeliest, first = theirs.argmax(-1), ours.topk(min(5, ours.shape[-1])).indices
        parts.append(
            (
                -ours[each, following].double(),
                -theirs[each, following].double(),
                (theirs.exp() * (theirs - ours)).sum(-1).double(),
                likeliest == first[:, 0],
                (likeliest[:, None] == first).any(-1),
            )
        )
    return _Window(kind, *map(torch.cat, zip(*parts, strict=True)))


def _agreement(runtime: str, windows: Sequence[_Window]) -> Agreement:
    loss, float_loss = (torch.stack([getattr(w, name) for w in windows]) for name in ("loss", "float_loss"))
    divergence = torch.cat([window.divergence for window in windows])
    rise = loss - float_loss
    kinds = sorted({window.kind for window in windows}, key=[window.kind for window in windows].index)
    return Agreement(
        runtime,
        _perplexity(float(loss.mean())),
        _perplexity(float(float_loss.mean())),
        float(divergence.mean()),
        float(torch.cat([window.same for window in windows]).double().mean()),
        rise.numel(),
        float(divergence.quantile(0.99)),
        float(torch.cat([window.near for window in windows]).double().mean()),
        tuple(map(_perplexity, loss.mean(-1).tolist())),
        tuple(map(_perplexity, float_loss.mean(-1).tolist())),
        float(rise.std() / rise.numel() ** 0.5) if rise.numel() > 1 else math.inf,
        {kind: _agreement(runtime, [replace(w, kind="") for w in windows if w.kind == kind]) for kind in kinds if kind},
    )


def measure(
    ids: np.ndarray, reference: Iterable[np.ndarray], decoders: list[PackagedDecoder], kinds: Sequence[str] = ()
) -> Iterator[list[Agreement]]:
    """Yields, after each window of `ids` (windows, tokens), the agreement of each decoder so far.

    `reference` gives the float model's logits of each window, (tokens, vocabulary), and `kinds` the kind of its text.
    The first token of a window is not predicted, so it does not count.
    """
    measured: list[list[_Window]] = [[] for _ in decoders]
    for window, logits, kind in zip(ids, reference, kinds or [""] * len(ids), strict=True):
        expected = torch.log_softmax(torch.from_numpy(logits[:-1]), -1)
        for decoder, own in zip(decoders, measured, strict=True):
            decoder.reset()
            own.append(_window(kind, window, expected, feed(decoder, window)))
        yield [_agreement(decoder.runtime, own) for decoder, own in zip(decoders, measured, strict=True)]


def divergence(exact: torch.Tensor, other: torch.Tensor) -> float:
    """Mean KL divergence between the distributions of logits (tokens, vocabulary), nats."""
    p, q = (torch.log_softmax(logits.double(), -1) for logits in (exact, other))
    return float((p.exp() * (p - q)).sum(-1).mean())


def _perplexity(mean: float) -> float:
    return math.exp(mean) if mean < 700 else math.inf
