"""Replicas that sleep in host memory: what they take, when they are back, and what they cost."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from jevons.simulator.cluster import RESTING, SERVING, WAKING
from jevons.simulator.competitors_jevons import Jevons
from jevons.simulator.competitors_spec import JevonsSettings
from jevons.simulator.policies.policy import View
from jevons.simulator.scenario import HostMemory
from jevons.simulator.world import simulate

NOBODY = [10_000.0]
SLEEP = HostMemory(holding=0.1, wake_s=5.0, lie_s=20.0)


def test_a_pod_lies_down_when_it_is_empty_and_wakes_in_its_time(requests_at: Any, scenario: Any, driven: Any) -> None:
    world = driven(scenario(requests_at([1.0, *NOBODY], outputs=200), variant={"sleep": SLEEP}))
    world.until(1.5)
    pod = world.cluster.pods(0)[0]
    world.cluster.rest(0, frozenset({pod.name}), 1.5)
    assert world.cluster.view(0) == View(replicas=1, ready=0), "it takes nothing new from now on"
    assert not pod.asleep, "what it has is finished first"
    world.until(60.0)
    assert pod.asleep
    assert np.isfinite(world.fleet.end_s[0])
    world.cluster.rest(0, frozenset(), 100.0)
    world.until(104.9)
    assert world.cluster.view(0).ready == 0
    world.until(105.0)
    assert (world.cluster.view(0).ready, pod.ready, pod.asleep) == (1, True, False)
    seconds = world.cluster.close(200.0).seconds(0.0, 200.0)
    assert seconds[0, WAKING] == pytest.approx(5.0)
    assert 65.0 < seconds[0, RESTING] < 80.0
    assert seconds[0, SERVING] == pytest.approx(195.0 - seconds[0, RESTING])


def test_one_that_has_not_lain_down_yet_is_back_at_once(requests_at: Any, scenario: Any, driven: Any) -> None:
    world = driven(scenario(requests_at(NOBODY), variant={"sleep": SLEEP}))
    pod = world.cluster.pods(0)[0]
    world.cluster.rest(0, frozenset({pod.name}), 10.0)
    world.until(15.0)
    world.cluster.rest(0, frozenset(), 15.0)
    world.until(15.0)
    assert pod.ready
    world.until(100.0)
    assert pod.ready, "lying down was given up"


def test_a_sleeping_pod_that_is_no_longer_wanted_is_gone_at_once(requests_at: Any, scenario: Any, driven: Any) -> None:
    world = driven(scenario(requests_at(NOBODY), variant={"sleep": SLEEP}))
    world.cluster.rest(0, frozenset({world.cluster.pods(0)[0].name}), 0.0)
    world.until(100.0)
    world.cluster.want(0, 0, 100.0)
    world.until(101.0)
    assert world.cluster.pods(0) == []


@pytest.mark.parametrize("variant", [{"crash_per_h": 20.0}, {"reclaim_per_h": 20.0}])
def test_one_that_is_lost_in_its_sleep_comes_back_by_a_start(variant: Any, requests_at: Any, scenario: Any, driven: Any) -> None:
    world = driven(scenario(requests_at(NOBODY), variant={"sleep": SLEEP, **variant}, seed=4))
    for now in range(0, 3600, 10):
        world.until(float(now))
        world.cluster.rest(0, frozenset(pod.name for pod in world.cluster.pods(0)), float(now))
    stretches = world.cluster.close(3600.0).stretches
    assert len({kind for _, kind, _, _ in stretches}) >= 3
    assert all(before[3] <= after[2] + 1e-9 for before, after in pairwise(stretches))


def test_an_engine_that_cannot_sleep_is_left_as_it_is(requests_at: Any, scenario: Any, driven: Any) -> None:
    world = driven(scenario(requests_at(NOBODY)))
    world.cluster.rest(0, frozenset({world.cluster.pods(0)[0].name}), 10.0)
    world.until(100.0)
    assert world.cluster.view(0).ready == 1


def test_jevons_answers_from_a_sleeping_replica_within_its_wake_and_pays_the_share(requests_at: Any, scenario: Any) -> None:
    calls = requests_at([float(at) for at in range(100, 9000, 880)])
    paid, waits = {}, {}
    for name, sleep in (("asleep", SLEEP), ("gone", None)):
        world = scenario(calls, variant={"sleep": sleep, "initial_replicas": 0, "max_replicas": 1})
        jevons = Jevons(world, JevonsSettings())
        outcome = simulate(world, jevons)
        paid[name], waits[name] = outcome.usd, outcome.first_token_s - calls.at_s
        assert jevons.spent_usd == pytest.approx(outcome.usd, rel=0.12), "the operator's ledger and the simulator's bill agree"
    assert waits["asleep"][0] > 60.0
    assert waits["asleep"][1:].max() < 7.0
    assert paid["asleep"] < 0.8 * paid["gone"]
