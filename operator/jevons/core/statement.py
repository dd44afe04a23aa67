"""The integer programme of one deployment as data, and as the columns and rows that a solver is given (`programme.py` says what it means).

Whole columns are d[v, j]: variant v has the replicas of its j-th step. Up to FINE replicas a step is one; beyond, a step is a tenth of what is there:
what the plan is sized to in the end is asked of the sizing rule, and a tenth of twenty replicas is two too many for a few minutes at most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from jevons.core.milp import Model

MISSED = 1000.0
"""Phi for work that no replica does, over the dearest replica's price: the promise is never given up for money here, budgets do that."""
OVER = 3000.0
"""For an accelerator that there is not: replicas.min may ask for it all the same."""
SHORT = 10_000.0
"""Phi for quality below the promise, alike: the last of all bounds to give way."""
TRIFLES = (1e-2, 1e-2, 5e-4)
"""Missed work [replicas], accelerators and quality so small that they are the solver's tolerance, or inside the room of `framing.FULL`."""
NEVER = math.inf
FINE, COARSER = 8, 10
"""Replicas up to which a step is one; beyond, one more for each COARSER that there are."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One variant. `usd_per_h` of a replica with every shadow price in it; `capacity`: G(1), G(2), ... in fluid replicas, up to `most` at least."""

    name: str
    accelerator: str
    units: int
    usd_per_h: float
    startup_s: float
    current: int
    least: int
    most: int
    capacity: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """One request class, by score bin and by variant.

    weights: of its bins, 1 in all. work: of all its requests, in fluid replicas of each variant (inf = cannot serve). right: share of right answers
    of each variant, by bin. target: the share that is promised. late: what one fluid replica of its work costs while it is missed, by variant
    [USD/h]; empty = not looked at. waiting_usd_per_h: what it costs that all of it waits; None = it may not.
    """

    name: str
    weights: tuple[float, ...]
    work: tuple[float, ...]
    right: tuple[tuple[float, ...], ...]
    target: float
    late: tuple[float, ...] = ()
    waiting_usd_per_h: float | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """Demand over the horizon: `factor` times what is planned for, with this probability."""

    factor: float
    probability: float


@dataclass(frozen=True, slots=True)
class Problem:
    """One deployment's. `units`: accelerators there are for it by class (a class that is left out is without bound). Times in seconds."""

    offers: tuple[Offer, ...]
    groups: tuple[Group, ...]
    horizon_s: float
    drain_s: float
    units: Mapping[str, int]
    scenarios: tuple[Scenario, ...] = ()
    """Of more demand than is planned for; what is left of the probability is that, or less."""


Parts = list[tuple[tuple[Group, int], list[tuple[int, int]]]]
"""Per class and bin: (variant, column) of those that can serve it."""


class Stated:
    """The programme's columns and rows."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.model = problem, Model()
        self.unit = max([offer.usd_per_h for offer in problem.offers]) * problem.horizon_s or 1.0
        self.levels: list[list[tuple[int, int]]] = []
        """By variant and step: its column, and the replicas that it adds."""
        self.slack: list[int] = []
        self.waiting = [self._waits(group) for group in problem.groups]
        self.parts = parts(problem, self.model, self.waiting)
        starts = [self._fleet(index, offer) for index, offer in enumerate(problem.offers)]
        self._accelerators(starts)
        quality(problem, self.model, self.parts, self.slack, self.waiting)

    def begin(self, replicas: Sequence[int]) -> None:
        """Where the search begins: with the first steps of every variant that make so many."""
        for levels, count in zip(self.levels, replicas, strict=True):
            there = 0
            for column, size in levels:
                self.model.begin.append((column, float(there < count)))
                there += size

    def _waits(self, group: Group) -> int | None:
        if group.waiting_usd_per_h is None:
            return None
        return self.model.column(group.waiting_usd_per_h * self.problem.horizon_s / self.unit, upper=1.0)

    def _fleet(self, index: int, offer: Offer) -> int:
        """Replicas, starts, stops, and what they can do; the column of its starts."""
        model, problem = self.model, self.problem
        price = offer.usd_per_h / self.unit
        counts = _counts(offer)
        levels = [
            (model.column(price * problem.horizon_s * (count - below), lower=float(count <= offer.least), upper=1.0, whole=True), count - below)
            for below, count in pairwise((0, *counts))
        ]
        self.levels.append(levels)
        for (below, _), (above, _) in pairwise(levels):
            model.row([(below, 1.0), (above, -1.0)], lower=0.0)
        start, stop = model.column(price * offer.startup_s), model.column(price * problem.drain_s)
        terms = [(column, float(size)) for column, size in levels]
        model.row([*terms, (start, -1.0), (stop, 1.0)], lower=offer.current, upper=offer.current)
        missed = model.column(MISSED)
        self.slack.append(missed)
        work = [(column, group.work[index] * group.weights[bin_]) for (group, bin_), columns in self.parts for at, column in columns if at == index]
        all_work = sum([value for _, value in work])
        model.row([*work, *self._able(levels, counts, offer, all_work), (missed, -1.0)], upper=0.0)
        for scenario in problem.scenarios:
            asked = [(column, scenario.factor * value) for column, value in work]
            able = self._able(levels, counts, offer, scenario.factor * all_work)
            model.row([*asked, *able, *[(column, -1.0) for column in self._late(index, scenario)]], upper=0.0)
        return start

    @staticmethod
    def _able(levels: list[tuple[int, int]], counts: list[int], offer: Offer, all_work: float) -> list[tuple[int, float]]:
        """What its replicas do, step by step: never more than there is, which is as much as a row must know."""
        able = [min(all_work, offer.capacity[count - 1]) for count in counts]
        return [(column, below - done) for (column, _), (below, done) in zip(levels, pairwise((0.0, *able)), strict=True)]

    def _late(self, index: int, scenario: Scenario) -> list[int]:
        """Columns of what is missed in a scenario by one variant: one for each price of it, bounded where there are several."""
        model, prices = self.model, dict[float, list[tuple[int, float]]]()
        for (group, bin_), columns in self.parts:
            for at, column in columns if group.late else ():
                if at == index:
                    prices.setdefault(group.late[index], []).append((column, group.work[index] * group.weights[bin_]))
        found = []
        for usd_per_h, work in prices.items():
            late = model.column(scenario.probability * usd_per_h * self.problem.horizon_s / self.unit)
            found.append(late)
            if len(prices) > 1:
                model.row([*[(column, scenario.factor * value) for column, value in work], (late, -1.0)], lower=0.0)
        return found

    def _accelerators(self, starts: list[int]) -> None:
        offers = self.problem.offers
        for name, there in self.problem.units.items():
            users = [index for index, offer in enumerate(offers) if offer.accelerator == name]
            if users and bound(self.problem, name):
                held = sum(offers[index].units * offers[index].current for index in users)
                over = self.model.column(OVER)
                self.slack.append(over)
                self.model.row([*[(starts[index], float(offers[index].units)) for index in users], (over, -1.0)], upper=float(max(0, there - held)))


def bound(problem: Problem, accelerator: str) -> bool:
    """Whether there may be too few accelerators of that class for a plan."""
    users = [offer for offer in problem.offers if offer.accelerator == accelerator]
    most = sum([offer.units * max(offer.current, len(offer.capacity)) for offer in users])
    return accelerator in problem.units and most > problem.units[accelerator]


def mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """Weighted mean; the first value where nothing weighs."""
    total = sum(weights)
    return sum([weight * value for weight, value in zip(weights, values, strict=True)]) / total if total else values[0]


def _counts(offer: Offer) -> list[int]:
    """The numbers of replicas that are looked at: all of the few, fewer of the many, and always the least, the present and the most."""
    most = min(offer.most, len(offer.capacity))
    counts, count = [], 0
    while count < most:
        count += max(1, (count - FINE) // COARSER + 1)
        counts.append(min(count, most))
    return sorted({*counts, *[count for count in (offer.least, offer.current) if 0 < count <= most]})


def parts(problem: Problem, model: Model, waiting: list[int | None]) -> Parts:
    """The columns x, and the rows that every request is somebody's, or waits."""
    found: Parts = []
    for group, waits in zip(problem.groups, waiting, strict=True):
        able = [index for index, work in enumerate(group.work) if work < NEVER]
        for bin_, weight in enumerate(group.weights):
            if weight > 0.0 and able:
                columns = [(index, model.column(0.0, upper=1.0)) for index in able]
                terms = [(column, 1.0) for _, column in columns]
                model.row(terms if waits is None else [*terms, (waits, 1.0)], lower=1.0, upper=1.0)
                found.append(((group, bin_), columns))
    return found


def quality(problem: Problem, model: Model, found: Parts, slack: list[int], waiting: list[int | None]) -> None:
    """Every class's expected share of right answers; what is short of it has a price."""
    for group, waits in zip(problem.groups, waiting, strict=True):
        terms = [
            (column, group.weights[bin_] * group.right[index][bin_]) for (of, bin_), columns in found if of is group for index, column in columns
        ]
        if terms and group.target > 0.0:
            short = model.column(SHORT)
            slack.append(short)
            model.row([*terms, (short, 1.0), *([(waits, group.target)] if waits is not None else [])], lower=group.target)
