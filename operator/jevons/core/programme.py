"""Which share of each class goes to which variant, and how many replicas of each that takes: chosen together, as a small integer programme.

Choosing routes by what a request costs on a full replica, and replicas afterwards, pays for whatever part of the last replica stays empty, once per
variant. Here both are one choice (control.md, section 4): x[c, b, v] is the share of class c's requests of score bin b that variant v answers,
f[c] the share of class c that waits (only where it may), d[v, j] says whether v has the replicas of its j-th step (d[v, j + 1] <= d[v, j]), and

    minimise   sum_v price_v (H n_v + S_v u_v + sigma z_v) + sum_g alpha_g H units_v n_v + sum_c psi_c H f_c
               + sum_s pi_s sum_cv late_cv m_cvs + phi H missed_v + Phi H quality_c
    subject to n_v = current_v + u_v - z_v,  least_v <= n_v <= most_v,  sum_v x_cbv = 1 - f_c
               sum_cb work_cv x_cbv <= sum_j (G_v(k_j) - G_v(k_j-1)) d_vj + missed_v         work, in fluid replicas; G may grow faster than k
               factor_s sum_cb work_cv x_cbv <= sum_j (G_v(k_j) - G_v(k_j-1)) d_vj + sum_c m_cvs   alike, in every scenario s of more demand
               sum_b weight_cb right_cbv x_cbv + quality_c >= target_c (1 - f_c)             expected quality
               sum_v units_vg (current_v + u_v) <= F_g                   accelerators, and those that the power bears; a swap holds both at once

What a scenario's requests are to whoever answers them (y of the design) is x less m: bins of one class are missed at one price, so that m needs no
bins; and classes whose late work costs the same per replica are missed together. The design's m in the present demand is `missed`, at a price that is
never worth paying: promises are not given up for money here, budgets do that.

`reduced.py` leaves out what is in no best plan, `statement.py` writes the columns and rows. Whoever is bought may as well be used evenly: with the
replicas fixed, a second (linear) programme finds the shares at which every variant is used to the same part at most, which is how far demand may grow
before more is needed.

KV memory needs no row of its own: a fluid replica of every class is one whose memory suffices for it (`capacity.py`), so any mix of them fits too.

Everything here is a value; numbers that are none never enter (`framing.py` leaves such deployments to the rule). Prices are USD/h, times seconds. The
objective is stated in units of the dearest replica's horizon, for the solver's sake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from jevons.core.milp import Model, Solver
from jevons.core.reduced import on, reduced
from jevons.core.statement import MISSED, OVER, SHORT, TRIFLES, Parts, Problem, Stated, parts, quality

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Solution:
    """Replicas by variant, shares by class and variant, and how full the fullest variant is (0..1; above = work is missed)."""

    replicas: tuple[int, ...]
    shares: tuple[tuple[float, ...], ...]
    """Of what does not wait, by class: 1 in all (0 where all of it waits)."""
    fullest: float
    usd: float
    """The objective: over the horizon, penalties included."""
    short: bool
    """The promise of quality or capacity cannot be kept at all."""
    waiting: tuple[float, ...] = ()
    """The share of each class that waits."""


def solve(problem: Problem, solver: Solver, *, near: Sequence[int] | None = None, evenly: bool = True) -> Solution | None:
    """The cheapest plan; None when there is nothing to choose or the solver has no answer.

    near: replicas by variant of a plan that is thought to be good: the search begins there. evenly False: only what it costs is asked.
    """
    if not problem.offers or not problem.groups:
        return None
    small = reduced(problem)
    stated = Stated(small.problem)
    if near is not None:
        stated.begin([near[index] for index in small.left])
    found = solver(stated.model)
    if found is None:
        return None
    replicas = _spread([sum(size * round(found.values[column]) for column, size in levels) for levels in stated.levels], small.left, problem, 0)
    waits = [0.0 if column is None else min(1.0, max(0.0, found.values[column])) for column in stated.waiting]
    waiting = tuple([waits[at] for at in small.of])
    missing = {MISSED: 0.0, OVER: 0.0, SHORT: 0.0}
    for column in stated.slack:
        missing[stated.model.cost[column]] += found.values[column]
    short = any(missing[price] > trifle for price, trifle in zip((MISSED, OVER, SHORT), TRIFLES, strict=True))
    even = None if short or not evenly else _evenly(problem, replicas, waiting, solver)
    if even is None:
        together = _shares(small.problem, stated.parts, found.values)
        even = tuple([_spread(together[at], small.left, problem, 0.0) for at in small.of]), 1.0
    return Solution(replicas, *even, found.cost * stated.unit / 3600.0, short, waiting)


def _spread(values: Sequence[Number], left: Sequence[int], problem: Problem, none: Number) -> tuple[Number, ...]:
    """The values of the variants that are left, among all of them."""
    row = [none] * len(problem.offers)
    for index, value in zip(left, values, strict=True):
        row[index] = value
    return tuple(row)


def _shares(problem: Problem, found: Parts, values: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    """By class and variant, of what does not wait."""
    rows = {group.name: [0.0] * len(problem.offers) for group in problem.groups}
    for (group, bin_), columns in found:
        for index, column in columns:
            rows[group.name][index] += group.weights[bin_] * min(1.0, max(0.0, values[column]))
    return tuple([tuple([share / (sum(row) or 1.0) for share in row]) for row in rows.values()])


def _evenly(
    problem: Problem, replicas: tuple[int, ...], waiting: tuple[float, ...], solver: Solver
) -> tuple[tuple[tuple[float, ...], ...], float] | None:
    """The shares at which these replicas are used to the same part at most, and that part; what waits stays what it is."""
    model = Model()
    bought = tuple([index for index, count in enumerate(replicas) if count])
    some = replace(problem, offers=tuple([problem.offers[index] for index in bought]), groups=tuple([on(group, bought) for group in problem.groups]))
    kept: list[int | None] = [model.column(0.0, lower=share, upper=share) if share > 0.0 else None for share in waiting]
    found_parts = parts(some, model, kept)
    fullest = model.column(1.0)
    for index, offer in enumerate(some.offers):
        work = [(column, group.work[index] * group.weights[bin_]) for (group, bin_), columns in found_parts for at, column in columns if at == index]
        model.row([*work, (fullest, -offer.capacity[replicas[bought[index]] - 1])], upper=0.0)
    quality(some, model, found_parts, [], kept)
    found = solver(model)
    if found is None:
        return None
    return tuple([_spread(row, bought, problem, 0.0) for row in _shares(some, found_parts, found.values)]), found.values[fullest]
