"""The integer programme against brute force: every count of replicas tried, the routing of each by a linear programme of its own."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from jevons.core.programme import Group, Offer, Problem, solve
from jevons.solver import highs

PRICES = st.floats(0.5, 30.0)


@st.composite
def problems(draw):
    count, classes, bins = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    offers = []
    for index in range(count):
        most = draw(st.integers(0, 3))
        steps = draw(st.lists(st.floats(0.3, 1.5), min_size=most, max_size=most).map(sorted))
        least = draw(st.integers(0, most))
        capacity = tuple(float(level) for level in np.cumsum(steps))
        current = draw(st.integers(0, 3))
        offers.append(Offer(f"v{index}", draw(st.sampled_from("ab")), draw(st.integers(1, 2)), draw(PRICES), 120.0, current, least, most, capacity))
    groups = []
    for index in range(classes):
        weights = (1.0,) if bins == 1 else (0.25, 0.75)
        work = tuple(draw(st.one_of(st.floats(0.05, 1.5), st.just(float("inf")))) for _ in range(count))
        right = tuple(tuple(draw(st.floats(0.3, 1.0)) for _ in range(bins)) for _ in range(count))
        groups.append(Group(f"c{index}", weights, work, right, draw(st.sampled_from([0.0, 0.5, 0.7]))))
    units = {"a": draw(st.integers(0, 8))} if draw(st.booleans()) else {}
    return Problem(tuple(offers), tuple(groups), 900.0, 60.0, units)


def cost(problem, counts):
    usd = 0.0
    for offer, count in zip(problem.offers, counts, strict=True):
        started, stopped = max(0, count - offer.current), max(0, offer.current - count)
        usd += offer.usd_per_h * (problem.horizon_s * count + offer.startup_s * started + problem.drain_s * stopped)
    return usd / 3600.0


def room(problem, counts):
    for name, bound in problem.units.items():
        users = [(offer, count) for offer, count in zip(problem.offers, counts, strict=True) if offer.accelerator == name]
        held, started = sum(o.units * o.current for o, _ in users), sum(o.units * max(0, n - o.current) for o, n in users)
        if started > max(0, bound - held):
            return False
    return True


def routable(problem, counts, slack=0.0):
    """Whether these replicas can serve everything with its quality; by shares x[class, bin, variant]."""
    offers, columns = problem.offers, []
    for group in problem.groups:
        columns += [(group, bin_, index) for bin_ in range(len(group.weights)) for index in range(len(offers)) if group.work[index] < 1e9]
    if any(not any(each[0] is group for each in columns) for group in problem.groups):
        return False
    upper, bounds = [], []
    for index, (offer, count) in enumerate(zip(offers, counts, strict=True)):
        upper.append([group.work[index] * group.weights[bin_] if at == index else 0.0 for group, bin_, at in columns])
        bounds.append((offer.capacity[count - 1] if count else 0.0) + slack)
    for group in problem.groups:
        upper.append([-of.weights[bin_] * of.right[at][bin_] if of is group else 0.0 for of, bin_, at in columns])
        bounds.append(slack - group.target)
    equal = [[float(of is group and b == bin_) for of, b, _ in columns] for group in problem.groups for bin_ in range(len(group.weights))]
    return linprog(np.zeros(len(columns)), upper, bounds, equal, np.ones(len(equal)), bounds=(0.0, 1.0)).status == 0


def check(problem):
    if any(all(work > 1e9 for work in group.work) for group in problem.groups):
        return  # the framing never asks that
    found = solve(problem, highs.solve)
    assert found is not None
    tried = sorted(
        (counts for counts in product(*[range(offer.least, offer.most + 1) for offer in problem.offers]) if room(problem, counts)),
        key=lambda counts: cost(problem, counts),
    )
    best = next((counts for counts in tried if routable(problem, counts)), None)
    if found.short:
        assert best is None or not routable(problem, best, -1e-4)
        return
    assert room(problem, found.replicas)
    assert routable(problem, found.replicas, 0.011)
    assert cost(problem, found.replicas) <= found.usd * (1.0 + 1e-6) + 1e-6
    if best is not None:
        assert found.usd <= cost(problem, best) * (1.0 + 2e-3) + 1e-4


@settings(max_examples=100, deadline=None)
@given(problems())
def test_no_plan_is_cheaper(problem):
    check(problem)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=10_000, deadline=None)
@given(problems())
def test_no_plan_is_cheaper_in_ten_thousand_cases(problem):
    check(problem)


@settings(max_examples=30, deadline=None)
@given(problems(), st.floats(1.05, 3.0))
def test_more_demand_never_costs_less(problem, factor):
    more = replace(problem, groups=tuple(replace(group, work=tuple(work * factor for work in group.work)) for group in problem.groups))
    less, found = solve(problem, highs.solve), solve(more, highs.solve)
    if not less.short and not found.short:
        assert found.usd >= less.usd * (1.0 - 2e-3) - 1e-4
