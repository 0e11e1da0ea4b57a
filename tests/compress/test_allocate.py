"""The allocation is the optimum for every budget, and spends it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgesw.compress.allocate import allocate

WIDTHS = np.array([2, 3, 4, 6, 8])


def best_of_all(costs: list[list[int]], losses: list[list[float]], budget: int) -> float:
    every = itertools.product(*(range(len(one)) for one in costs))
    return min(
        sum(loss[pick] for loss, pick in zip(losses, picks, strict=True))
        for picks in every
        if sum(cost[pick] for cost, pick in zip(costs, picks, strict=True)) <= budget
    )


@pytest.mark.parametrize("seed", range(300))
def test_no_other_choice_is_better(seed: int) -> None:
    """Compared with every possible choice: options off the convex hull, equal costs and equal losses included.

    A choice that is only nearly the best would give away quality that the budget pays for.
    """
    random = np.random.default_rng(seed)
    costs = [random.integers(0, 12, random.integers(1, 5)).tolist() for _ in range(random.integers(1, 6))]
    draw = (lambda n: random.integers(0, 20, n).astype(float)) if seed % 2 else random.random
    losses = [draw(len(one)).tolist() for one in costs]
    budget = int(random.integers(sum(map(min, costs)), sum(map(max, costs)) + 2))
    chosen = allocate(costs, losses, budget)
    assert sum(cost[pick] for cost, pick in zip(costs, chosen, strict=True)) <= budget
    reached = sum(loss[pick] for loss, pick in zip(losses, chosen, strict=True))
    assert reached == pytest.approx(best_of_all(costs, losses, budget), abs=1e-9)


@pytest.mark.parametrize("bits", [2.0, 2.3, 3.5, 5.01, 7.9, 8.0])
def test_a_models_budget_is_spent_within_one_percent(bits: float) -> None:
    """A user who asks for 3.5 bits has space for 3.5 bits. Sizes and the spread of sensitivities are a real model's."""
    random = np.random.default_rng(1)
    sizes = random.choice([331_776, 110_592, 884_736], 210)
    costs = [(size * WIDTHS).tolist() for size in sizes]
    losses = [(size * np.exp(random.normal(0, 1.5)) * 4.0**-WIDTHS).tolist() for size in sizes]
    budget = int(bits * sizes.sum())
    spent = sum(cost[pick] for cost, pick in zip(costs, allocate(costs, losses, budget), strict=True))
    assert 0.99 * budget <= spent <= budget


def test_a_wider_matrix_that_does_not_help_is_not_paid_for() -> None:
    """Measured sensitivities may rise with the width by chance: the narrower matrix is then smaller and better."""
    assert allocate([[2, 4], [2, 4]], [[1.0, 1.5], [1.0, 0.5]], budget=8) == [0, 1]


def test_what_cannot_be_allocated_is_an_error() -> None:
    """Silently over the budget, a package would not fit where it was made for."""
    with pytest.raises(ValueError, match="cheapest"):
        allocate([[3, 4], [2, 9]], [[1.0, 0.0], [1.0, 0.0]], budget=4)
    with pytest.raises(ValueError, match="not finite"):
        allocate([[3, 4]], [[1.0, float("nan")]], budget=4)
