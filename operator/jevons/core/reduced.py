"""A deployment's programme without what cannot be part of a best plan, so that ten variants and ten classes take no longer than a pass may.

A variant of which nothing runs is left out where another one answers everything at least as well, and for any number of its replicas has some that do
as much for no more money and no scarcer accelerators: whatever plan uses it, one that uses the other instead is no worse. Alike where several others
are that good for each of its replicas, and have room for one more as long as they do not bear all the work there is. That is exact, apart from the
last percent by which fleets grow more slowly than they should. Where the shares are still too many numbers, classes and bins that are alike are made
one until they are not (`alike.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from jevons.core.alike import gathered
from jevons.core.statement import NEVER, Group, Offer, Problem, bound

SHARES = 120
"""Classes times bins times variants: more of them took HiGHS above 50 ms now and then."""
GROWS = 0.99
"""A replica more does at least this part of what the one before did, where one variant stands in for another."""
EVEN = 1e-9


@dataclass(frozen=True, slots=True)
class Reduced:
    """The smaller programme; which variants are left in it; and for each class which of its classes that is part of."""

    problem: Problem
    left: tuple[int, ...]
    of: tuple[int, ...]


def reduced(problem: Problem) -> Reduced:
    """What of the programme must be solved."""
    left = _left(problem)
    groups, of = gathered([on(group, left) for group in problem.groups], max(1, SHARES // max(1, len(left))))
    return Reduced(replace(problem, offers=tuple([problem.offers[index] for index in left]), groups=groups), left, of)


def _left(problem: Problem) -> tuple[int, ...]:
    """The variants that no others make needless."""
    offers, gone = problem.offers, set[int]()
    free = [not bound(problem, offer.accelerator) for offer in offers]
    growing = [_growing(offer) for offer in offers]
    for index, offer in enumerate(offers):
        if offer.current or offer.least:
            continue
        ratios = {
            other: ratio
            for other in range(len(offers))
            if other != index and other not in gone and growing[other] and (ratio := _stands_in(problem, index, other)) is not None
        }
        alone = any(_for_all(problem, index, other, ratio, free=free[other]) for other, ratio in ratios.items())
        if alone or sum([_room(problem, index, other, ratio) for other, ratio in ratios.items() if free[other]]) >= 1.0:
            gone.add(index)
    return tuple([index for index in range(len(offers)) if index not in gone])


def _growing(offer: Offer) -> bool:
    """Whether some more replicas do as much beside those that there are as they would alone."""
    steps = [above - below for below, above in pairwise((0.0, *offer.capacity))]
    return bool(steps) and all(above >= GROWS * below for below, above in pairwise(steps[:-1]))


def _stands_in(problem: Problem, index: int, other: int) -> float | None:
    """The most work that `other` has with what is one of `index`'s; None where it cannot answer all of that, or not as well."""
    ratio = 0.0
    for group in problem.groups:
        if group.work[index] < NEVER:
            if group.work[other] >= NEVER or any(better > same for better, same in zip(group.right[index], group.right[other], strict=True)):
                return None
            ratio = max(ratio, group.work[other] / group.work[index])
    late = [(group.late[index], group.late[other]) for group in problem.groups if group.late and group.work[index] < NEVER]
    return None if any(instead * ratio > mine * (1.0 + EVEN) for mine, instead in late) else ratio


def _for_all(problem: Problem, index: int, other: int, ratio: float, *, free: bool) -> bool:
    """Whether `other` has replicas for all the work there is, and some for any number of `index`'s at no more money."""
    offer, instead, all_work = problem.offers[index], problem.offers[other], _all_work(problem, other)
    if instead.capacity[-1] < all_work or len(instead.capacity) > instead.most or not (free or offer.accelerator == instead.accelerator):
        return False
    needed = 0
    for count, does in enumerate(offer.capacity[: offer.most], 1):
        while needed < len(instead.capacity) and (not needed or instead.capacity[needed - 1] < min(all_work, ratio * does)):
            needed += 1
        if _usd(problem, instead, needed) > _usd(problem, offer, count) or not (free or needed * instead.units <= count * offer.units):
            return False
    return True


def _room(problem: Problem, index: int, other: int, ratio: float) -> float:
    """The part of all work that `other` bears before it has no room for one more replica of `index`'s work; 0 where that would cost more.

    Variants that together bear all of it have such room in any plan, or need no help.
    """
    offer, instead = problem.offers[index], problem.offers[other]
    most = max([above - below for below, above in pairwise((0.0, *offer.capacity[: offer.most]))], default=0.0)
    needed = next((count for count, does in enumerate(instead.capacity, 1) if does >= ratio * most), None)
    if needed is None or _usd(problem, instead, needed) > _usd(problem, offer, 1):
        return 0.0
    left = min(instead.most, len(instead.capacity)) - needed
    return min(1.0, instead.capacity[left - 1] / (_all_work(problem, other) or 1.0)) if left > 0 else 0.0


def _all_work(problem: Problem, index: int) -> float:
    """Of all classes that the variant can serve, in the scenario of the most demand."""
    return sum([group.work[index] for group in problem.groups if group.work[index] < NEVER]) * max(
        [1.0, *[scenario.factor for scenario in problem.scenarios]]
    )


def _usd(problem: Problem, offer: Offer, count: int) -> float:
    return offer.usd_per_h * count * (problem.horizon_s + offer.startup_s)


def on(group: Group, left: tuple[int, ...]) -> Group:
    """The class on the variants that are left."""
    work, right = tuple([group.work[index] for index in left]), tuple([group.right[index] for index in left])
    return replace(group, work=work, right=right, late=tuple([group.late[index] for index in left]) if group.late else ())
