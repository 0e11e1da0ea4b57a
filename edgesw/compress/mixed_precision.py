"""Mix: what each matrix may be where only a measurement can tell, and what all of them may come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgesw.compress.allocate import allocate
from edgesw.compress.scheme import Scheme


@dataclass(frozen=True)
class MatrixPlan:
    """One matrix: (rows, columns) and its scheme."""

    name: str
    rows: int
    columns: int
    scheme: Scheme
    stored_bytes: int

    @property
    def weights(self) -> int:
        return self.rows * self.columns

    @property
    def scheme_text(self) -> str:
        """Its scheme as it is printed."""
        return self.scheme.text(self.columns)


@dataclass(frozen=True)
class Mix:
    """What each matrix of the layers may be, in forward order, and what all of them may come to."""

    options: tuple[tuple[MatrixPlan, ...], ...]
    """By ascending width."""
    budget: int
    """Code bits, or bytes if `stored`."""
    stored: bool

    @property
    def schemes(self) -> dict[str, list[Scheme]]:
        """The options by matrix name, as the harms of `allocated` must be."""
        return {options[0].name: [option.scheme for option in options] for options in self.options}

    def allocated(self, harms: Mapping[str, Sequence[float]]) -> tuple[MatrixPlan, ...]:
        """The matrices with the least sum of harms that the budget allows; `harms` by name, in the options' order."""
        costs = [[m.stored_bytes if self.stored else m.scheme.bits * m.weights for m in one] for one in self.options]
        chosen = allocate(costs, [harms[options[0].name] for options in self.options], self.budget)
        return tuple(options[choice] for options, choice in zip(self.options, chosen, strict=True))

    def without(self, corrections: int) -> Mix:
        """What is left of a budget of bytes, and at least what the narrowest options take."""
        least = sum(options[0].stored_bytes for options in self.options)
        return replace(self, budget=max(self.budget - corrections, least))

    def forecast(self) -> tuple[MatrixPlan, ...]:
        """An allocation to the same budget that takes each weight for as sensitive as any other, at 6 dB a bit."""
        return self.allocated({m[0].name: [o.weights * 4.0**-o.scheme.bits for o in m] for m in self.options})
