"""Exact allocation: one option for each item, of the least total harm that a budget allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np


@dataclass(frozen=True)
class _Priced:
    """Items at a price of a unit of cost: what each option loses against the item's best one at that price."""

    costs: list[np.ndarray]
    losses: list[np.ndarray]
    price: float


@dataclass(frozen=True)
class _Stage:
    """Partial choices after an item: which partial choice each goes on from, and the option it takes."""

    parents: np.ndarray
    options: np.ndarray


def allocate(costs: Sequence[Sequence[int]], harms: Sequence[Sequence[float]], budget: int) -> list[int]:
    """The option of each item with the least sum of harms among those whose sum of costs is at most `budget`.

    `costs[i][j]` (whole numbers, not negative) and `harms[i][j]` belong to option j of item i. ValueError where not
    even the cheapest options fit, or where a harm is no number.

    This is the multiple-choice knapsack problem. A price for a unit of cost (the Lagrange multiplier of the budget, at
    which the linear relaxation has its optimum) gives a bound, and a greedy choice something to beat. What an answer
    loses against the bound is the sum of what its options lose at that price, plus the price of what it leaves unspent:
    a search over partial choices drops those that have lost too much, or that another one beats in both cost and harm.
    It is exact; that few partial choices are left is experience, not a promise.
    """
    cost = [np.asarray(one, np.int64) for one in costs]
    harm = [np.asarray(one, np.float64) for one in harms]
    if not all(np.isfinite(one).all() for one in harm):
        raise ValueError("a harm is infinite or no number")
    if sum(int(one.min()) for one in cost) > budget:
        raise ValueError("the cheapest options cost more than the budget")
    greedy, price = _greedy(cost, harm, budget)
    priced = [h + price * c for h, c in zip(harm, cost, strict=True)]
    losses = [one - one.min() for one in priced]
    return _search(_Priced(cost, losses, price), greedy, budget)


def _greedy(costs: list[np.ndarray], harms: list[np.ndarray], budget: int) -> tuple[list[int], float]:
    """A choice that fits, and the price: steps along each item's convex hull, those that save most per cost first."""
    hulls = [_hull(cost, harm) for cost, harm in zip(costs, harms, strict=True)]
    chosen = [hull[0] for hull in hulls]
    left = budget - sum(int(cost[option]) for cost, option in zip(costs, chosen, strict=True))
    steps = []
    for item, hull in enumerate(hulls):
        for before, after in pairwise(hull):
            extra = int(costs[item][after] - costs[item][before])
            saved = float(harms[item][before] - harms[item][after])
            steps.append((-saved / extra, item, before, after, extra))
    price = 0.0
    for slope, item, before, after, extra in sorted(steps):
        if chosen[item] != before:
            continue  # a step before this one did not fit
        if extra <= left:
            chosen[item] = after
            left -= extra
        elif not price:  # the first step that does not fit sets the price
            price = -slope
    return chosen, price


def _hull(costs: np.ndarray, harms: np.ndarray) -> list[int]:
    """The options on the lower convex hull from the cheapest to the least harmful, by rising cost."""
    hull: list[int] = []
    for option in map(int, np.lexsort((harms, costs))):
        if hull and harms[option] >= harms[hull[-1]]:
            continue
        while len(hull) > 1 and _slope(costs, harms, hull[-2], hull[-1]) >= _slope(costs, harms, hull[-1], option):
            hull.pop()
        hull.append(option)
    return hull


def _slope(costs: np.ndarray, harms: np.ndarray, before: int, after: int) -> float:
    return float((harms[after] - harms[before]) / (costs[after] - costs[before]))


def _search(items: _Priced, greedy: list[int], budget: int) -> list[int]:
    """The best choice; `greedy` where nothing beats it."""
    count = len(greedy)
    free = [int(np.lexsort((cost, loss))[0]) for cost, loss in zip(items.costs, items.losses, strict=True)]
    loss = sum(float(one[option]) for one, option in zip(items.losses, greedy, strict=True))
    spent = sum(int(one[option]) for one, option in zip(items.costs, greedy, strict=True))
    best, room = list(greedy), loss + items.price * (budget - spent)
    # Items that lose least by their second option come last: until then few partial choices are within reach.
    second = [float(np.sort(one)[1]) if len(one) > 1 else np.inf for one in items.losses]
    order = sorted(range(count), key=lambda item: -second[item])
    least = _rest([int(items.costs[item].min()) for item in order])
    most = _rest([int(items.costs[item].max()) for item in order])
    at_price = _rest([int(items.costs[item][free[item]]) for item in order])
    costs, losses, stages = np.zeros(1, np.int64), np.zeros(1), list[_Stage]()
    for done, item in enumerate(order, start=1):
        near = np.flatnonzero(items.losses[item] < room)
        if not len(near):
            break
        parents = np.repeat(np.arange(len(costs)), len(near))
        options = np.tile(near, len(costs))
        costs, losses = costs[parents] + items.costs[item][options], losses[parents] + items.losses[item][options]
        # What must stay unspent is lost too.
        unspent = items.price * np.maximum(budget - costs - most[done], 0)
        keep = np.flatnonzero((losses + unspent < room) & (costs + least[done] <= budget))
        keep = keep[_undominated(costs[keep], losses[keep] - items.price * costs[keep])]
        costs, losses = costs[keep], losses[keep]
        stages.append(_Stage(parents[keep], options[keep]))
        if not len(keep):
            break
        # Each partial choice, gone on with by what loses nothing, is an answer where it fits.
        total = costs + at_price[done]
        answers = np.where(total <= budget, losses + items.price * (budget - total), np.inf)
        state = int(answers.argmin())
        if answers[state] < room:
            room = float(answers[state])
            best = _trace(stages, order, state, free)
    return best


def _rest(costs: list[int]) -> list[int]:
    """For each place, the sum from there on; 0 at the end."""
    return [*accumulate(reversed(costs), initial=0)][::-1]


def _undominated(costs: np.ndarray, harms: np.ndarray) -> np.ndarray:
    """Indices of those that no other beats in both: by rising cost, each with a smaller harm than all before."""
    order = np.lexsort((harms, costs))
    lowest = np.minimum.accumulate(harms[order])
    first = np.ones(len(order), bool)
    first[1:] = lowest[1:] < lowest[:-1]
    return order[first]


def _trace(stages: list[_Stage], order: list[int], state: int, free: list[int]) -> list[int]:
    """The choice that a partial one stands for, gone on with by what loses nothing."""
    chosen = list(free)
    for stage, item in zip(reversed(stages), reversed(order[: len(stages)]), strict=True):
        chosen[item] = int(stage.options[state])
        state = int(stage.parents[state])
    return chosen
