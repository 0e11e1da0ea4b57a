"""MixedPrecision: the schemes that each matrix may get, and the budget for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgesw.compress.allocate import allocate
from edgesw.compress.scheme import Scheme


@dataclass(frozen=True)
class MatrixPlan:
    """One matrix: its shape, its scheme and its size."""

    name: str
    rows: int
    columns: int
    scheme: Scheme
    stored_bytes: int

    @property
    def weights(self) -> int:
        """The number of its weights."""
        return self.rows * self.columns

    @property
    def scheme_text(self) -> str:
        """Its scheme as it is printed."""
        return self.scheme.text(self.columns)


@dataclass(frozen=True)
class MixedPrecision:
    """The options of each of the layers' matrices, in forward order, and the budget for all of them. Sensitivities,
    which have to be measured, decide between the options."""

    options: tuple[tuple[MatrixPlan, ...], ...]
    """Of each matrix by ascending width."""
    budget: int
    """Code bits, or bytes if `stored`."""
    stored: bool

    @property
    def schemes(self) -> dict[str, list[Scheme]]:
        """The options by matrix name, in the order in which `allocated` takes sensitivities."""
        return {options[0].name: [option.scheme for option in options] for options in self.options}

    def allocated(self, sensitivities: Mapping[str, Sequence[float]]) -> tuple[MatrixPlan, ...]:
        """The matrices with the smallest sum of sensitivities that the budget allows. `sensitivities` are by name, in
        the order of the options."""
        costs = [[m.stored_bytes if self.stored else m.scheme.bits * m.weights for m in one] for one in self.options]
        chosen = allocate(costs, [sensitivities[options[0].name] for options in self.options], self.budget)
        return tuple(options[choice] for options, choice in zip(self.options, chosen, strict=True))

    def without(self, corrections: int) -> MixedPrecision:
        """The same with a budget of bytes that pays for corrections first; the narrowest options always fit."""
        least = sum(options[0].stored_bytes for options in self.options)
        return replace(self, budget=max(self.budget - corrections, least))

    def forecast(self) -> tuple[MatrixPlan, ...]:
        """An allocation to the same budget as if all weights were equally sensitive, at 6 dB per bit."""
        return self.allocated({m[0].name: [o.weights * 4.0**-o.scheme.bits for o in m] for m in self.options})
