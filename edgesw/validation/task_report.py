"""TaskReport: what the float model and a package answered, and how far they agree, by kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

Z = 1.959963984540054
"""The standard normal's quantile for an interval of 95%."""
COLUMNS = ("kind", "items", "float right", "target", "right", "right in all", "lost", "gained", "same text")


@dataclass(frozen=True)
class Share:
    """How many of some items, with the interval of 95% of the share (Wilson, JASA 22, 1927)."""

    count: int
    of: int

    @property
    def share(self) -> float:
        return self.count / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        if not self.of:
            return 0.0, 1.0
        p, n, z2 = self.share, self.of, Z * Z
        centre, half = p + z2 / (2 * n), Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        low, high = ((centre + side * half) / (1 + z2 / n) for side in (-1, 1))
        return max(0.0, low), min(1.0, high)

    def to_dict(self) -> dict[str, Any]:
        return {"count": self.count, "of": self.of, "share": self.share, "interval": list(self.interval)}

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:.0%} ({low:.0%} to {high:.0%})" if self.of else "none"


@dataclass(frozen=True)
class Answered:
    """One item: what was answered, and whether that is right."""

    id: str
    kind: str
    float_text: str
    float_right: bool
    texts: dict[str, str]
    """By target, like `right`."""
    right: dict[str, bool]


@dataclass(frozen=True)
class Paired:
    """How a target compares with the float model on the same items."""

    items: int
    right: Share
    equal: Share
    """Items whose answer is the float model's text."""
    lost: int
    """Items that the float model has right and the target wrong."""
    gained: int
    """The reverse."""

    @property
    def difference(self) -> float:
        """The target's share of right answers less the float model's."""
        return (self.gained - self.lost) / self.items

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of 95% of the difference, for pairs: the adjusted Wald interval of Agresti and Min (Statistics
        in Medicine 24, 2005), half an item added to each of the four kinds of pairs."""
        lost, gained, n = self.lost + 0.5, self.gained + 0.5, self.items + 2
        middle = (gained - lost) / n
        half = Z * math.sqrt((gained + lost) - (gained - lost) ** 2 / n) / n
        return max(-1.0, middle - half), min(1.0, middle + half)

    @property
    def p_value(self) -> float:
        """How likely so uneven a split of lost and gained is if neither model is better: McNemar's test, exact."""
        n = self.lost + self.gained
        tail = sum(math.comb(n, k) for k in range(min(self.lost, self.gained) + 1))
        return min(1.0, 2 * tail / 2**n)

    def to_dict(self) -> dict[str, Any]:
        return {
            "right": self.right.to_dict(), "equal": self.equal.to_dict(), "lost": self.lost, "gained": self.gained,
            "difference": self.difference, "difference_interval": list(self.interval), "p_value": self.p_value,
        }  # fmt: skip


@dataclass(frozen=True)
class KindResult:
    """The items of one kind, or all of them."""

    kind: str
    items: int
    float_right: Share
    targets: dict[str, Paired]

    def to_dict(self) -> dict[str, Any]:
        return {
            "items": self.items, "float_right": self.float_right.to_dict(),
            "targets": {name: paired.to_dict() for name, paired in self.targets.items()},
        }  # fmt: skip


@dataclass(frozen=True)
class TaskReport:
    """The answers to a task set."""

    name: str
    answers: tuple[Answered, ...]
    runtimes: dict[str, str]
    skipped: tuple[str, ...]
    """The ids of the items that do not fit the package's context."""
    in_chat: bool
    """Whether items that are meant for a chat template were put in the model's own; else they were plain prompts."""
    longest_prompt: int
    """In tokens."""
    seconds: dict[str, float]
    """Processor seconds of this process, of each target and of `float`."""
    float_cached: bool

    @property
    def kinds(self) -> tuple[KindResult, ...]:
        names = dict.fromkeys(each.kind for each in self.answers)
        return tuple(self._result(name, [each for each in self.answers if each.kind == name]) for name in names)

    @property
    def overall(self) -> KindResult:
        return self._result("all", self.answers)

    def _result(self, kind: str, answers: Sequence[Answered]) -> KindResult:
        n, float_right = len(answers), sum(each.float_right for each in answers)
        targets = {
            name: Paired(
                n,
                Share(sum(each.right[name] for each in answers), n),
                Share(sum(each.texts[name] == each.float_text for each in answers), n),
                sum(each.float_right and not each.right[name] for each in answers),
                sum(each.right[name] and not each.float_right for each in answers),
            )
            for name in self.runtimes
        }
        return KindResult(kind, n, Share(float_right, n), targets)

    def worse(self, target: str) -> str | None:
        """A line if the target is right less often than the float model by more than chance."""
        paired = self.overall.targets.get(target)
        if paired is None or paired.interval[1] >= 0:
            return None
        return f"of {len(self.answers)} tasks it loses {paired.lost} and gains {paired.gained}, more than chance would"

    def rows(self) -> list[tuple[str, ...]]:
        """A row per kind and target, and for all kinds, with COLUMNS."""
        return [
            (
                result.kind, str(result.items), f"{result.float_right.share:.0%}", name, f"{paired.right.share:.0%}",
                _range(paired), str(paired.lost), str(paired.gained), str(paired.equal),
            )
            for result in (*self.kinds, self.overall)
            for name, paired in result.targets.items()
        ]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        return {
            "tasks": self.name, "items": len(self.answers), "skipped": list(self.skipped), "chat": self.in_chat,
            "longest_prompt": self.longest_prompt, "runtimes": self.runtimes, "seconds": self.seconds,
            "float_cached": self.float_cached,
            "overall": self.overall.to_dict(), "kinds": {each.kind: each.to_dict() for each in self.kinds},
            "answers": [asdict(each) for each in self.answers],
        }  # fmt: skip


def _range(paired: Paired) -> str:
    low, high = paired.interval
    return f"{paired.difference:+.0%} ({low:+.0%} to {high:+.0%})"
