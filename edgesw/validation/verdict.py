"""Verdict: whether a package is close enough to its float model, by limits that a person can set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from edgesw.validation.measure import Agreement

# A perplexity below the float model's by more standard errors than this is no chance: the package predicts otherwise.
CHANCE = 3.0

LOWER = (
    "perplexity is {:+.1%}, lower than the float model's by more than chance: a difference too, judge by KL divergence"
)


@dataclass(frozen=True)
class Limits:
    """What a package may differ by on any kind of text. docs/validation.md shows what the defaults were set on."""

    kl: float = 0.3
    """Most mean KL divergence, nats."""
    top1: float = 0.65
    """Least share of positions with the same most likely token."""
    increase: float = 0.3
    """Most increase in perplexity: 0.3 is 30%."""


@dataclass(frozen=True)
class Verdict:
    """Whether a target passes, and why not: a line for each figure beyond its limit, the worst kind of text named."""

    failures: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failures


def judge(found: Agreement, limits: Limits) -> Verdict:
    """Judges each figure by the kind of text on which it is worst. What is infinite or not a number never passes."""
    parts = found.kinds or {"": found}

    def worst(figure: Callable[[Agreement], float], sign: int = 1) -> tuple[str, float]:
        values = {kind: figure(part) for kind, part in parts.items()}
        kind = max(values, key=lambda each: sign * values[each] if math.isfinite(values[each]) else math.inf)
        return (f" on {kind}" if kind else ""), values[kind]

    failures = []
    where, kl = worst(lambda part: part.kl_divergence)
    if not kl <= limits.kl:
        failures.append(f"KL divergence {kl:.3f}{where}, at most {limits.kl:g}")
    where, top1 = worst(lambda part: part.top1_agreement, -1)
    if not top1 >= limits.top1:
        failures.append(f"top-1 agreement {top1:.1%}{where}, at least {limits.top1:.0%}")
    where, increase = worst(lambda part: part.increase if math.isfinite(part.float_perplexity) else math.nan)
    if not (math.isfinite(increase) and increase <= limits.increase):
        failures.append(f"perplexity {increase:+,.1%}{where}, at most +{limits.increase:.0%}")
    return Verdict(tuple(failures), (LOWER.format(found.increase),) if _is_lower(found) else ())


def _is_lower(found: Agreement) -> bool:
    """Whether the perplexity is below the float model's by more than chance."""
    both = (found.perplexity, found.float_perplexity)
    return all(map(math.isfinite, both)) and math.log(both[0] / both[1]) < -CHANCE * found.loss_error
