"""The integer programme by hand-checked cases: what is bought, who answers what, and which bounds hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jevons.core.programme import solve
from jevons.core.statement import Group, Offer, Problem, Scenario
from jevons.solver import highs

BIG = Offer("big", "b", 1, 10.0, 60.0, 0, 0, 5, (100.0, 200.0, 300.0, 400.0, 500.0))
SMALL = Offer("small", "s", 1, 4.0, 60.0, 0, 0, 9, tuple(30.0 * count for count in range(1, 10)))


def problem(need: float, *offers: Offer, right=None, target=0.0, weights=(1.0,), **changes) -> Problem:
    offers = offers or (BIG, SMALL)
    sure = right or tuple((1.0,) * len(weights) for _ in offers)
    plain = Problem(offers, (Group("c", weights, (need,) * len(offers), sure, target),), 3600.0, 60.0, {})
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("need", "bought"),
    [(30.0, (0, 1)), (31.0, (0, 2)), (61.0, (1, 0)), (120.0, (1, 1)), (200.0, (2, 0)), (0.5, (0, 1))],
)
def test_the_cheapest_mix_covers_the_need(need, bought):
    assert solve(problem(need), highs.solve).replicas == bought


def test_what_runs_already_costs_no_start_and_what_is_let_go_costs_its_drain():
    standing = replace(BIG, current=1)
    long_starts = replace(SMALL, startup_s=7200.0)
    assert solve(problem(30.0, standing, long_starts), highs.solve).replicas == (1, 0)
    assert solve(problem(30.0, standing, SMALL), highs.solve).replicas == (0, 1)


def test_a_swap_needs_accelerators_for_both():
    standing = replace(BIG, current=1, accelerator="g")
    shared = replace(SMALL, accelerator="g")
    assert solve(problem(30.0, standing, shared, units={"g": 2}), highs.solve).replicas == (0, 1)
    assert solve(problem(30.0, standing, shared, units={"g": 1}), highs.solve).replicas == (1, 0)


def test_no_more_than_its_share_goes_to_the_lesser_variant():
    def bought(target):
        found = solve(problem(115.0, right=((1.0, 1.0), (0.5, 0.9)), weights=(0.5, 0.5), target=target), highs.solve)
        assert not found.short
        return found.replicas, found.shares[0][1]

    # of 115, 15 to 30 go to the small one; every one of the simple ones that it answers costs a tenth of a right answer
    assert bought(1.0) == ((2, 0), 0.0)
    replicas, share = bought(0.98)
    assert replicas == (1, 1)
    assert 15.0 / 115.0 - 1e-6 <= share <= 0.2 + 1e-6


def test_a_promise_that_nobody_can_keep_is_said_to_be_short():
    assert solve(problem(30.0, right=((0.8,), (0.8,)), target=0.9), highs.solve).short
    assert solve(problem(30.0, replace(SMALL, most=0, capacity=())), highs.solve).short


def test_least_and_most_bind():
    assert solve(problem(10.0, BIG, replace(SMALL, least=3)), highs.solve).replicas == (0, 3)
    assert solve(problem(70.0, BIG, replace(SMALL, most=1)), highs.solve).replicas == (1, 0)


def test_what_is_bought_is_used_evenly():
    found = solve(problem(120.0), highs.solve)
    assert found.fullest == pytest.approx(120.0 / 130.0, abs=1e-6)
    assert found.shares[0] == pytest.approx((100.0 / 130.0, 30.0 / 130.0), abs=1e-6)


def test_a_variant_that_cannot_serve_a_class_does_not():
    case = problem(30.0)
    group = replace(case.groups[0], work=(30.0, float("inf")))
    assert solve(replace(case, groups=(group,)), highs.solve).replicas == (1, 0)


def test_without_an_answer_there_is_no_solution():
    assert solve(problem(30.0), lambda _: None) is None
    assert solve(Problem((), (), 600.0, 60.0, {}), highs.solve) is None


def test_capacity_that_grows_faster_than_the_fleet_is_no_trouble():
    growing = replace(SMALL, capacity=(20.0, 50.0, 90.0, 140.0), most=4)
    assert solve(problem(140.0, BIG, growing), highs.solve).replicas == (0, 4)
    assert solve(problem(95.0, BIG, growing), highs.solve).replicas == (1, 0)


def test_demand_that_may_come_is_bought_for_where_missing_it_costs_more():
    def bought(late, probability):
        case = problem(55.0, SMALL)
        groups = (replace(case.groups[0], late=(late,)),)
        return solve(replace(case, groups=groups, scenarios=(Scenario(1.4, probability),)), highs.solve).replicas[0]

    # 1.4 times 55 is 77: a third replica does 17 of it, for 4 USD/h and a start; missing that costs 17 times `late`, if it comes
    assert bought(5.0, 0.25) == 3
    assert bought(0.5, 0.25) == 2
    assert bought(5.0, 0.01) == 2


def test_work_that_can_wait_waits_for_less_than_a_replica_costs_and_no_longer():
    def waits(usd_per_h):
        case = problem(70.0, SMALL)
        patient = Group("batch", (1.0,), (20.0,), ((1.0,),), 0.0, waiting_usd_per_h=usd_per_h)
        found = solve(replace(case, groups=(*case.groups, patient)), highs.solve)
        return found.replicas[0], found.waiting[1]

    # 70 take three replicas, 90 too; with 35 more a fourth would be needed
    assert waits(0.5) == (3, 0.0)
    case = problem(70.0, SMALL)
    patient = Group("batch", (1.0,), (35.0,), ((1.0,),), 0.0, waiting_usd_per_h=2.0)
    found = solve(replace(case, groups=(*case.groups, patient)), highs.solve)
    assert found.replicas == (3,)
    assert found.waiting == pytest.approx((0.0, 15.0 / 35.0), abs=1e-6)
    dearer = solve(replace(case, groups=(*case.groups, replace(patient, waiting_usd_per_h=20.0))), highs.solve)
    assert (dearer.replicas, dearer.waiting) == ((4,), (0.0, 0.0))
