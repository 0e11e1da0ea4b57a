"""ValidationReport: what a validation measured, and its verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from edgesw.system.sizes import counted
from edgesw.validation.examine import Examination
from edgesw.validation.long_context import LongContext
from edgesw.validation.matrices import MatrixError
from edgesw.validation.measure import Agreement
from edgesw.validation.samples import Sample
from edgesw.validation.task_report import TaskReport
from edgesw.validation.verdict import Limits, Verdict, judge


@dataclass(frozen=True)
class ValidationReport:
    """What was measured, on what, and whether each target passes."""

    text: str
    windows: int
    tokens: int  # per window
    limits: Limits
    targets: dict[str, Agreement]
    prefix: int = 1
    """How many tokens the tokenizer puts before each window: BOS, or none. Windows do not overlap."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Size of each target's files."""
    samples: tuple[Sample, ...] = ()
    matrices: tuple[MatrixError, ...] = ()
    """The layers' matrices of each target in forward order; only with details."""
    uncorrected: dict[str, Agreement] = field(default_factory=dict)
    """The models of targets with an ablation, run without what is held out; no verdict depends on them."""
    long: tuple[LongContext, ...] = ()
    """Each target read to the end of its context; only where asked for."""
    tasks: TaskReport | None = None
    """What each target answers; only where asked for."""
    examined: dict[str, Examination] = field(default_factory=dict)
    """Each target that is suspicious."""
    advice: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """For each target that fails: where its error is, and what measured better."""

    @property
    def measured_on(self) -> str:
        """How much was read: `8 windows of 512 tokens, each starting with BOS`."""
        begins = "each starting with BOS" if self.prefix else "without BOS"
        return f"{counted(self.windows, 'window')} of {self.tokens} tokens, {begins}"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of text that were measured on, where there are several."""
        return tuple(next(iter(self.targets.values())).kinds) if self.targets else ()

    def verdict(self, target: str) -> Verdict:
        verdict = judge(self.targets[target], self.limits)
        further = [
            f"KL divergence {kl:.3f} after {counted(position, 'token')}, at most {self.limits.kl:g}"
            for each in self.long
            if each.target == target
            for position, kl in zip(each.positions, each.divergences, strict=True)
            if not kl <= self.limits.kl
        ]
        further += self.examined[target].failures if target in self.examined else ()
        worse = [] if self.tasks is None else [self.tasks.worse(target)]
        return Verdict((*verdict.failures, *further), (*verdict.warnings, *filter(None, worse)))

    @property
    def passed(self) -> bool:
        return all(self.verdict(target).passed for target in self.targets)

    def to_dict(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "windows": self.windows,
            "tokens_per_window": self.tokens,
            "stride": self.tokens - self.prefix,
            "bos": self.prefix > 0,
            "limits": asdict(self.limits),
            "max_perplexity_increase": self.limits.increase,  # by which EdgeSWKit knows it
            "passed": self.passed,
            "targets": {
                name: {
                    **result.to_dict(),
                    **asdict(verdict := self.verdict(name)),
                    "passed": verdict.passed,
                    "bytes": self.sizes.get(name),
                }
                for name, result in self.targets.items()
            },
            "uncorrected": {name: result.to_dict() for name, result in self.uncorrected.items()},
            "samples": [sample.to_dict() for sample in self.samples],
            "matrices": [matrix.to_dict() for matrix in self.matrices],
            "long": [each.to_dict() for each in self.long],
            "tasks": None if self.tasks is None else self.tasks.to_dict(),
            "examined": {name: one.to_dict() for name, one in self.examined.items()},
            "advice": {name: list(lines) for name, lines in self.advice.items()},
        }

    def worst(self, target: str, count: int = 5) -> list[MatrixError]:
        """The matrices of a target with the largest errors."""
        own = (matrix for matrix in self.matrices if matrix.target == target)
        return sorted(own, key=lambda matrix: -matrix.error)[:count]
