"""Weights stay on the node: the next start there is short, and whoever watches starts learns which ones are."""

from __future__ import annotations

from typing import Any

import pytest

from jevons.core import startup
from jevons.simulator.competitors_jevons import Jevons
from jevons.simulator.competitors_spec import KEY, JevonsSettings
from jevons.simulator.scenario import Startup
from jevons.simulator.world import simulate

NOBODY = [100_000.0]


def starts(world: Any) -> list[float]:
    return [end - begin for _, kind, begin, end in world.cluster.bill.stretches if kind == 0]


def test_a_start_where_the_variant_ran_within_ten_minutes_finds_its_weights(requests_at: Any, scenario: Any, driven: Any) -> None:
    world = driven(scenario(requests_at(NOBODY), variant={"startup": Startup(100.0, home_s=20.0), "initial_replicas": 0}))
    for at_s, wanted in ((0.0, 1), (200.0, 0), (300.0, 1), (400.0, 0), (1200.0, 1), (1400.0, 0)):
        world.until(at_s)
        world.cluster.want(0, wanted, at_s)
    world.until(1500.0)
    assert starts(world) == pytest.approx([100.0, 20.0, 100.0]), "after more than ten minutes the node was gone"


def test_a_second_replica_has_a_node_of_its_own(requests_at: Any, scenario: Any, driven: Any) -> None:
    world = driven(scenario(requests_at(NOBODY), variant={"startup": Startup(100.0, home_s=20.0), "initial_replicas": 0}))
    for at_s, wanted in ((0.0, 1), (150.0, 2), (300.0, 0), (400.0, 2)):
        world.until(at_s)
        world.cluster.want(0, wanted, at_s)
    world.until(500.0)
    assert starts(world) == pytest.approx([100.0, 100.0, 20.0, 20.0])


def test_a_node_that_is_taken_away_takes_the_weights_with_it(requests_at: Any, scenario: Any, driven: Any) -> None:
    variant = {"startup": Startup(100.0, home_s=20.0), "initial_replicas": 0, "reclaim_per_h": 4.0}
    world = driven(scenario(requests_at(NOBODY), variant=variant, seed=2))
    world.cluster.want(0, 1, 0.0)
    world.until(3.0 * 3600.0)
    assert len(starts(world)) > 3
    assert all(seconds > 20.0 for seconds in starts(world)[:1])
    assert set(world.cluster._homes._empty) == set()


def test_jevons_learns_both_classes_and_which_one_comes_next(requests_at: Any, scenario: Any) -> None:
    calls = requests_at([float(at) for at in range(100, 20_000, 500)])
    world = scenario(calls, variant={"startup": Startup(200.0, home_s=25.0), "initial_replicas": 0, "max_replicas": 1})
    jevons = Jevons(world, JevonsSettings(idle_after_s=60.0))
    outcome = simulate(world, jevons)
    health = jevons._memory.deployments[KEY].variants["only"].health
    assert (health.at_home[0], sum(health.at_home) >= 20) == (True, True), "the first start of all is forgotten by now"
    assert startup.expected_s(health, 200.0) == pytest.approx(25.0, rel=0.15)
    waits = outcome.first_token_s - calls.at_s
    assert waits[0] > 200.0
    assert waits[1:].max() < 30.0
