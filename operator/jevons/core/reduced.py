"""A deployment's programme without what cannot be part of a best plan, so that ten variants and ten classes take no longer than a pass may.

A variant of which nothing runs is left out where another one answers everything at least as well, and for any number of its replicas has some that do
as much for no more money and no scarcer accelerators (`_dominates`): whatever plan uses it, one that uses the other instead is no worse. That is
exact, apart from the last percent by which fleets grow more slowly than they should. Where the shares are still too many numbers, neighbouring score
bins are made one until they are not: plans on fewer bins are plans, a few percent dearer.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from jevons.core.statement import NEVER, Group, Offer, Problem, bound, mean

SHARES = 320
"""Classes times bins times variants: about what HiGHS answers within 30 ms."""
GROWS = 0.99
"""A replica more does at least this part of what the one before did, where one variant stands in for another."""
EVEN = 1e-9


def reduced(problem: Problem) -> tuple[Problem, tuple[int, ...]]:
    """The smaller programme, and which of the variants are left in it."""
    left = _left(problem)
    offers = tuple([problem.offers[index] for index in left])
    groups = [_of(group, left) for group in problem.groups]
    cells = max([len(group.weights) for group in groups], default=0)
    while cells > 2 and sum([min(cells, len(group.weights)) for group in groups]) * len(left) > SHARES:
        cells -= 1
    return replace(problem, offers=offers, groups=tuple([_merged(group, cells) for group in groups])), left


def _left(problem: Problem) -> tuple[int, ...]:
    """The variants that no other one makes needless."""
    offers, gone = problem.offers, set[int]()
    free = {offer.name for offer in offers if not bound(problem, offer.accelerator)}
    growing = [_growing(offer) for offer in offers]
    for index, offer in enumerate(offers):
        if not (offer.current or offer.least) and any(
            other != index and other not in gone and growing[other] and _dominates(problem, index, other, free=offers[other].name in free)
            for other in range(len(offers))
        ):
            gone.add(index)
    return tuple([index for index in range(len(offers)) if index not in gone])


def _growing(offer: Offer) -> bool:
    """Whether some more replicas do as much beside those that there are as they would alone."""
    steps = [above - below for below, above in pairwise((0.0, *offer.capacity))]
    return bool(steps) and all(above >= GROWS * below for below, above in pairwise(steps[:-1]))


def _dominates(problem: Problem, index: int, other: int, *, free: bool) -> bool:
    """Whether `other` can always stand in for `index`; `free`: its accelerators are never short."""
    offer, instead = problem.offers[index], problem.offers[other]
    ratio = 0.0
    for group in problem.groups:
        if group.work[index] < NEVER:
            if group.work[other] >= NEVER or any(better > same for better, same in zip(group.right[index], group.right[other], strict=True)):
                return False
            ratio = max(ratio, group.work[other] / group.work[index])
    if any(group.late[other] * ratio > group.late[index] * (1.0 + EVEN) for group in problem.groups if group.late and group.work[index] < NEVER):
        return False
    all_work = sum([group.work[other] for group in problem.groups if group.work[other] < NEVER])
    all_work *= max([1.0, *[scenario.factor for scenario in problem.scenarios]])
    if instead.capacity[-1] < all_work or len(instead.capacity) > instead.most or not (free or offer.accelerator == instead.accelerator):
        return False
    needed = 0
    for count, does in enumerate(offer.capacity[: offer.most], 1):
        while needed < len(instead.capacity) and (not needed or instead.capacity[needed - 1] < min(all_work, ratio * does)):
            needed += 1
        if _usd(problem, instead, needed) > _usd(problem, offer, count) or not (free or needed * instead.units <= count * offer.units):
            return False
    return True


def _usd(problem: Problem, offer: Offer, count: int) -> float:
    return offer.usd_per_h * count * (problem.horizon_s + offer.startup_s)


def _of(group: Group, left: tuple[int, ...]) -> Group:
    """The class on the variants that are left."""
    work, right = tuple([group.work[index] for index in left]), tuple([group.right[index] for index in left])
    return replace(group, work=work, right=right, late=tuple([group.late[index] for index in left]) if group.late else ())


def _merged(group: Group, cells: int) -> Group:
    """The class with so many bins at most, neighbours made one."""
    many = len(group.weights)
    if many <= cells:
        return group
    cut = [range(cell * many // cells, (cell + 1) * many // cells) for cell in range(cells)]
    weights = [sum([group.weights[bin_] for bin_ in cell]) for cell in cut]
    right = [tuple([mean([row[bin_] for bin_ in cell], [group.weights[bin_] for bin_ in cell]) for cell in cut]) for row in group.right]
    return replace(group, weights=tuple(weights), right=tuple(right))
