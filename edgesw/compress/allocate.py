"""Exact allocation: one option for each item, with the smallest total loss that a budget allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np


@dataclass(frozen=True)
class _Priced:
    """Items at a price per unit of cost: by how much each option is worse than the item's best at that price."""

    costs: list[np.ndarray]
    excesses: list[np.ndarray]
    price: float


@dataclass(frozen=True)
class _Stage:
    """The partial choices after an item: the partial choice that each extends, and the option it adds."""

    parents: np.ndarray
    options: np.ndarray


def allocate(costs: Sequence[Sequence[int]], losses: Sequence[Sequence[float]], budget: int) -> list[int]:
    """Returns the option of each item: those with the smallest sum of losses whose costs add up to at most `budget`.

    `costs[i][j]` (whole numbers, not negative) and `losses[i][j]` belong to option j of item i. ValueError where even
    the cheapest options exceed the budget, or where a loss is not finite.

    This is the multiple-choice knapsack problem. A price per unit of cost (the Lagrange multiplier of the budget at the
    optimum of the linear relaxation) gives a bound, and a greedy choice an answer to improve on. An answer exceeds the
    bound by the excesses of its options at that price, plus the price of the budget that it does not spend. The search
    over partial choices drops those that exceed it by too much already, and those that another one beats in both cost
    and loss. It is exact; that few partial choices remain is experience, not a guarantee.
    """
    cost = [np.asarray(one, np.int64) for one in costs]
    loss = [np.asarray(one, np.float64) for one in losses]
    if not all(np.isfinite(one).all() for one in loss):
        raise ValueError("a loss is not finite")
    if sum(int(one.min()) for one in cost) > budget:
        raise ValueError("the cheapest options cost more than the budget")
    greedy, price = _greedy(cost, loss, budget)
    priced = [one + price * each for one, each in zip(loss, cost, strict=True)]
    excesses = [one - one.min() for one in priced]
    return _search(_Priced(cost, excesses, price), greedy, budget)


def _greedy(costs: list[np.ndarray], losses: list[np.ndarray], budget: int) -> tuple[list[int], float]:
    """A choice within the budget, and the price: steps along each item's convex hull, in order of saving per cost."""
    hulls = [_hull(cost, loss) for cost, loss in zip(costs, losses, strict=True)]
    chosen = [hull[0] for hull in hulls]
    left = budget - sum(int(cost[option]) for cost, option in zip(costs, chosen, strict=True))
    steps = []
    for item, hull in enumerate(hulls):
        for before, after in pairwise(hull):
            extra = int(costs[item][after] - costs[item][before])
            saved = float(losses[item][before] - losses[item][after])
            steps.append((-saved / extra, item, before, after, extra))
    price = 0.0
    for slope, item, before, after, extra in sorted(steps):
        if chosen[item] != before:
            continue  # an earlier step of this item did not fit
        if extra <= left:
            chosen[item] = after
            left -= extra
        elif not price:  # the first step that does not fit sets the price
            price = -slope
    return chosen, price


def _hull(costs: np.ndarray, losses: np.ndarray) -> list[int]:
    """The options on the lower convex hull from the cheapest to the one with the smallest loss, by rising cost."""
    hull: list[int] = []
    for option in map(int, np.lexsort((losses, costs))):
        if hull and losses[option] >= losses[hull[-1]]:
            continue
        while len(hull) > 1 and _slope(costs, losses, hull[-2], hull[-1]) >= _slope(costs, losses, hull[-1], option):
            hull.pop()
        hull.append(option)
    return hull


def _slope(costs: np.ndarray, losses: np.ndarray, before: int, after: int) -> float:
    return float((losses[after] - losses[before]) / (costs[after] - costs[before]))


def _search(items: _Priced, greedy: list[int], budget: int) -> list[int]:
    """The best choice: `greedy` unless another one beats it."""
    count = len(greedy)
    free = [int(np.lexsort((cost, excess))[0]) for cost, excess in zip(items.costs, items.excesses, strict=True)]
    excess = sum(float(one[option]) for one, option in zip(items.excesses, greedy, strict=True))
    spent = sum(int(one[option]) for one, option in zip(items.costs, greedy, strict=True))
    best, room = list(greedy), excess + items.price * (budget - spent)
    # Items whose second-best option is nearly as good come last: until then few partial choices are within reach.
    second = [float(np.sort(one)[1]) if len(one) > 1 else np.inf for one in items.excesses]
    order = sorted(range(count), key=lambda item: -second[item])
    least = _rest([int(items.costs[item].min()) for item in order])
    most = _rest([int(items.costs[item].max()) for item in order])
    at_price = _rest([int(items.costs[item][free[item]]) for item in order])
    costs, excesses, stages = np.zeros(1, np.int64), np.zeros(1), list[_Stage]()
    for done, item in enumerate(order, start=1):
        near = np.flatnonzero(items.excesses[item] < room)
        if not len(near):
            break
        parents = np.repeat(np.arange(len(costs)), len(near))
        options = np.tile(near, len(costs))
        costs = costs[parents] + items.costs[item][options]
        excesses = excesses[parents] + items.excesses[item][options]
        # A budget that cannot be spent any more counts too.
        unspent = items.price * np.maximum(budget - costs - most[done], 0)
        keep = np.flatnonzero((excesses + unspent < room) & (costs + least[done] <= budget))
        keep = keep[_undominated(costs[keep], excesses[keep] - items.price * costs[keep])]
        costs, excesses = costs[keep], excesses[keep]
        stages.append(_Stage(parents[keep], options[keep]))
        if not len(keep):
            break
        # Each partial choice, completed with options of no excess, is an answer if it fits.
        total = costs + at_price[done]
        answers = np.where(total <= budget, excesses + items.price * (budget - total), np.inf)
        state = int(answers.argmin())
        if answers[state] < room:
            room = float(answers[state])
            best = _trace(stages, order, state, free)
    return best


def _rest(costs: list[int]) -> list[int]:
    """The sum from each place on; 0 at the end."""
    return [*accumulate(reversed(costs), initial=0)][::-1]


def _undominated(costs: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Indices of those that no other beats in both: by rising cost, each with a smaller loss than all before it."""
    order = np.lexsort((losses, costs))
    lowest = np.minimum.accumulate(losses[order])
    first = np.ones(len(order), bool)
    first[1:] = lowest[1:] < lowest[:-1]
    return order[first]


def _trace(stages: list[_Stage], order: list[int], state: int, free: list[int]) -> list[int]:
    """The whole choice that a partial one gives, completed with options of no excess."""
    chosen = list(free)
    for stage, item in zip(reversed(stages), reversed(order[: len(stages)]), strict=True):
        chosen[item] = int(stage.options[state])
        state = int(stage.parents[state])
    return chosen
