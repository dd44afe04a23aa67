"""Shocks: what a price that doubles does to the bill, and a zone that is gone to its replicas."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from jevons.core.spec import AcceleratorClass, Price
from jevons.simulator.competitors import jevons, schedule, static
from jevons.simulator.shocks import Shock, listed
from jevons.simulator.world import simulate

MONTH_S = 2_592_000.0


def test_a_price_is_paid_from_its_second_on(requests_at: Any, scenario: Any) -> None:
    calm = scenario(requests_at([0.0, 500.0]))
    dearer = replace(calm, shocks=(Shock("gpu", 100.0, 110.0, price=2.0), Shock("other", 0.0, price=9.0)))
    assert simulate(dearer, static(1)).usd == pytest.approx(simulate(calm, static(1)).usd + 0.01 * 10.0)
    before = replace(dearer, burn_in_s=105.0)
    assert simulate(before, static(1)).usd == pytest.approx(simulate(replace(calm, burn_in_s=105.0), static(1)).usd + 0.01 * 5.0)


def test_a_run_that_ends_before_its_burn_in_costs_nothing(requests_at: Any, scenario: Any) -> None:
    outcome = simulate(scenario(requests_at([0.0]), burn_in_s=100.0), static(1))
    assert outcome.ended_s < 100.0
    assert outcome.usd == outcome.gpu_s == 0.0


def test_prices_are_announced_when_they_begin_and_no_sooner() -> None:
    known = {"a-one": AcceleratorClass("a-one", prices=(Price(0.0, Decimal("3.5"), Decimal("1.5")),))}
    shock = (Shock("a", 60.0, 120.0, price=2.0),)

    def told(at_s: float) -> list[tuple[float, float, float]]:
        prices = listed(known, {"a-one": "a"}, shock, at_s, MONTH_S)["a-one"].prices
        return [(price.effective_from_s, float(price.on_demand_usd_per_h), float(price.spot_usd_per_h)) for price in prices]

    assert told(59.0) == [(0.0, 3.5, 1.5)]
    assert told(60.0) == [(0.0, 3.5, 1.5), (MONTH_S + 60.0, 7.0, 3.0)]
    assert told(300.0) == [(0.0, 3.5, 1.5), (MONTH_S + 60.0, 7.0, 3.0), (MONTH_S + 120.0, 3.5, 1.5)]


def test_accelerators_that_vanish_take_the_oldest_replicas_and_the_rest_waits_until_they_are_back(
    requests_at: Any, scenario: Any, driven: Any
) -> None:
    world = scenario(requests_at([0.0]), variant={"initial_replicas": 4, "accelerators": 2}, shocks=(Shock("gpu", 100.0, 400.0, left=0.5),))
    run = driven(world)
    run.until(99.0)
    assert run.cluster.view(0).ready == 4
    run.until(110.0)
    view = run.cluster.view(0)
    assert (view.ready, view.starting, view.pending) == (2, 0, 2)
    run.cluster.want(0, 5, 200.0)
    run.until(399.0)
    view = run.cluster.view(0)
    assert (view.ready, view.starting, view.pending) == (2, 0, 3)
    run.until(401.0)
    assert run.cluster.view(0).starting == 3
    run.until(461.0)
    assert run.cluster.view(0).ready == 5


def test_a_bound_inventory_is_what_it_was_afterwards(requests_at: Any, scenario: Any, driven: Any) -> None:
    world = scenario(requests_at([0.0]), variant={"initial_replicas": 3}, inventory={"gpu": 4}, shocks=(Shock("gpu", 100.0, 200.0, left=0.0),))
    run = driven(world)
    run.until(150.0)
    assert run.cluster.view(0).ready == 0
    run.cluster.want(0, 6, 150.0)
    run.until(300.0)
    view = run.cluster.view(0)
    assert (view.ready, view.pending) == (4, 2)


def test_requests_on_a_replica_that_vanishes_go_elsewhere(poisson: Any, scenario: Any) -> None:
    world = scenario(poisson([2.0, 2.0, 2.0]), variant={"initial_replicas": 2}, shocks=(Shock("gpu", 300.0, 420.0, left=0.5),))
    outcome = simulate(world, schedule((0.0,), (2,)))
    assert (outcome.variant >= 0).all()
    assert simulate(world, schedule((0.0,), (2,))).usd == outcome.usd


def test_our_operator_leaves_what_became_dearer(poisson: Any, scenario: Any) -> None:
    requests = poisson([4.0] * 8)
    one = scenario(requests).variants[0]
    twins = (replace(one, name="a", accelerator="a"), replace(one, name="b", accelerator="b", usd_per_h=1.2 * one.usd_per_h, initial_replicas=0))
    calm = scenario(requests)
    calm = replace(calm, variants=twins)
    shocked = replace(calm, shocks=(Shock("a", 900.0, price=3.0),))
    assert (simulate(calm, jevons(calm)).variant == 0).all()
    late = requests.at_s > 1800.0
    assert (simulate(shocked, jevons(shocked)).variant[late] == 1).mean() > 0.9
