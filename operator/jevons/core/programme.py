"""Which share of each class goes to which variant, and how many replicas of each that takes: chosen together, as a small integer programme.

Choosing routes by what a request costs on a full replica, and replicas afterwards, pays for whatever part of the last replica stays empty, once per
variant. Here both are one choice (control.md, section 4): x[c, b, v] is the share of class c's requests of score bin b that variant v answers,
d[v, k] says whether v has a k-th replica (d[v, k + 1] <= d[v, k]), and

    minimise   sum_v price_v (H n_v + S_v u_v + sigma z_v) + sum_g alpha_g H units_v n_v + phi H missed_v + Phi H quality_c
    subject to n_v = current_v + u_v - z_v,  least_v <= n_v <= most_v
               sum_cb work_cv x_cbv <= sum_k (G_v(k) - G_v(k - 1)) d_vk + missed_v          work, in fluid replicas; G may grow faster than k
               sum_b weight_cb right_cbv x_cbv + quality_c >= target_c                       expected quality
               sum_v units_vg (current_v + u_v) <= F_g                                       accelerators; a swap holds both at once

Whoever is bought may as well be used evenly: with the replicas fixed, a second (linear) programme finds the shares at which every variant is used to
the same part at most, which is how far demand may grow before more is needed.

KV memory needs no row of its own: a fluid replica of every class is one whose memory suffices for it (`capacity.py`), so any mix of them fits too.

Everything here is a value; numbers that are none never enter (`framing.py` leaves such deployments to the rule). Prices are USD/h, times seconds. The
objective is stated in units of the dearest replica's horizon, for the solver's sake.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from jevons.core.milp import Model, Solver

MISSED = 1000.0
"""Phi for work that no replica does, over the dearest replica's price: the promise is never given up for money here, budgets do that."""
OVER = 3000.0
"""For an accelerator that there is not: replicas.min may ask for it all the same."""
SHORT = 10_000.0
"""Phi for quality below the promise, alike: the last of all bounds to give way."""
TRIFLES = (1e-2, 1e-2, 5e-4)
"""Missed work [replicas], accelerators and quality so small that they are the solver's tolerance, or inside the room of `framing.FULL`."""
NEVER = math.inf


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
    of each variant, by bin. target: the share that is promised.
    """

    name: str
    weights: tuple[float, ...]
    work: tuple[float, ...]
    right: tuple[tuple[float, ...], ...]
    target: float


@dataclass(frozen=True, slots=True)
class Problem:
    """One deployment's. `units`: accelerators there are for it by class (a class that is left out is without bound). Times in seconds."""

    offers: tuple[Offer, ...]
    groups: tuple[Group, ...]
    horizon_s: float
    drain_s: float
    units: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Solution:
    """Replicas by variant, shares by class and variant, and how full the fullest variant is (0..1; above = work is missed)."""

    replicas: tuple[int, ...]
    shares: tuple[tuple[float, ...], ...]
    fullest: float
    usd: float
    """The objective: over the horizon, penalties included."""
    short: bool
    """The promise of quality or capacity cannot be kept at all."""


def solve(problem: Problem, solver: Solver, *, evenly: bool = True) -> Solution | None:
    """The cheapest plan; None when there is nothing to choose or the solver has no answer. `evenly` False: only what it costs is asked."""
    if not problem.offers or not problem.groups:
        return None
    stated = _Stated(problem)
    found = solver(stated.model)
    if found is None:
        return None
    replicas = tuple([sum(round(found.values[column]) for column in levels) for levels in stated.levels])
    missing = {MISSED: 0.0, OVER: 0.0, SHORT: 0.0}
    for column in stated.slack:
        missing[stated.model.cost[column]] += found.values[column]
    short = any(missing[price] > trifle for price, trifle in zip((MISSED, OVER, SHORT), TRIFLES, strict=True))
    even = None if short or not evenly else _evenly(problem, replicas, solver)
    shares, fullest = even if even is not None else (stated.shares(found.values), 1.0)
    return Solution(replicas, shares, fullest, found.cost * stated.unit / 3600.0, short)


class _Stated:
    """The programme's columns and rows."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.model = problem, Model()
        self.unit = max([offer.usd_per_h for offer in problem.offers]) * problem.horizon_s or 1.0
        self.levels: list[list[int]] = []
        self.slack: list[int] = []
        self.parts = _parts(problem, self.model)
        starts: list[int] = []
        for index, offer in enumerate(problem.offers):
            starts.append(self._fleet(index, offer))
        self._accelerators(starts)
        _quality(problem, self.model, self.parts, self.slack, SHORT)

    def _fleet(self, index: int, offer: Offer) -> int:
        """Replicas, starts, stops, and what they can do; the column of its starts."""
        model, problem = self.model, self.problem
        price = offer.usd_per_h / self.unit
        most = min(offer.most, len(offer.capacity))
        levels = [model.column(price * problem.horizon_s, lower=float(level < offer.least), upper=1.0, whole=True) for level in range(most)]
        self.levels.append(levels)
        for below, above in pairwise(levels):
            model.row([(below, 1.0), (above, -1.0)], lower=0.0)
        start, stop = model.column(price * offer.startup_s), model.column(price * problem.drain_s)
        model.row([*[(level, 1.0) for level in levels], (start, -1.0), (stop, 1.0)], lower=offer.current, upper=offer.current)
        missed = model.column(MISSED)
        self.slack.append(missed)
        steps = [upper - lower for lower, upper in zip((0.0, *offer.capacity), offer.capacity, strict=False)][:most]
        work = [(column, group.work[index] * group.weights[bin_]) for (group, bin_), columns in self.parts for at, column in columns if at == index]
        model.row([*work, *[(level, -step) for level, step in zip(levels, steps, strict=True)], (missed, -1.0)], upper=0.0)
        return start

    def _accelerators(self, starts: list[int]) -> None:
        offers = self.problem.offers
        for name, bound in self.problem.units.items():
            users = [index for index, offer in enumerate(offers) if offer.accelerator == name]
            if users:
                held = sum(offers[index].units * offers[index].current for index in users)
                over = self.model.column(OVER)
                self.slack.append(over)
                self.model.row([*[(starts[index], float(offers[index].units)) for index in users], (over, -1.0)], upper=float(max(0, bound - held)))

    def shares(self, values: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
        """Of every class, by variant."""
        return _shares(self.problem, self.parts, values)


Parts = list[tuple[tuple[Group, int], list[tuple[int, int]]]]
"""Per class and bin: (variant, column) of those that can serve it."""


def _parts(problem: Problem, model: Model) -> Parts:
    """The columns x, and the rows that every request is somebody's."""
    parts: Parts = []
    for group in problem.groups:
        able = [index for index, work in enumerate(group.work) if work < NEVER]
        for bin_, weight in enumerate(group.weights):
            if weight > 0.0 and able:
                columns = [(index, model.column(0.0, upper=1.0)) for index in able]
                model.row([(column, 1.0) for _, column in columns], lower=1.0, upper=1.0)
                parts.append(((group, bin_), columns))
    return parts


def _quality(problem: Problem, model: Model, parts: Parts, slack: list[int], price: float) -> None:
    """Every class's expected share of right answers; what is short of it has `price`."""
    for group in problem.groups:
        terms = [
            (column, group.weights[bin_] * group.right[index][bin_]) for (of, bin_), columns in parts if of is group for index, column in columns
        ]
        if terms and group.target > 0.0:
            short = model.column(price)
            slack.append(short)
            model.row([*terms, (short, 1.0)], lower=group.target)


def _shares(problem: Problem, parts: Parts, values: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    found = {group.name: [0.0] * len(problem.offers) for group in problem.groups}
    for (group, bin_), columns in parts:
        for index, column in columns:
            found[group.name][index] += group.weights[bin_] * min(1.0, max(0.0, values[column]))
    return tuple([tuple(found[group.name]) for group in problem.groups])


def _evenly(problem: Problem, replicas: tuple[int, ...], solver: Solver) -> tuple[tuple[tuple[float, ...], ...], float] | None:
    """The shares at which these replicas are used to the same part at most, and that part."""
    model = Model()
    parts = _parts(problem, model)
    fullest = model.column(1.0)
    for index, (offer, count) in enumerate(zip(problem.offers, replicas, strict=True)):
        work = [(column, group.work[index] * group.weights[bin_]) for (group, bin_), columns in parts for at, column in columns if at == index]
        if not count:
            for column, _ in work:
                model.upper[column] = 0.0
            continue
        model.row([*work, (fullest, -offer.capacity[count - 1])], upper=0.0)
    _quality(problem, model, parts, [], SHORT)
    found = solver(model)
    if found is None:
        return None
    return _shares(problem, parts, found.values), found.values[fullest]
