"""Pods between a replica count and accelerators."""

from __future__ import annotations

from typing import Any

import pytest

from jevons.simulator.cluster import DRAINED, SERVING, STARTING
from jevons.simulator.policies.policy import View
from jevons.simulator.scenario import Startup

NOBODY = [10_000.0]
"""One request long after everything."""


def test_a_wanted_replica_is_created_scheduled_and_ready_in_its_time(requests_at: Any, scenario: Any, driven: Any) -> None:
    world = driven(scenario(requests_at(NOBODY)))
    world.cluster.want(0, 3, 0.0)
    assert world.cluster.view(0) == View(replicas=3, ready=1)
    world.until(0.5)
    assert world.cluster.view(0) == View(replicas=3, ready=1, starting=2)
    world.until(60.4)
    assert world.cluster.view(0).ready == 1
    world.until(60.5)
    assert world.cluster.view(0) == View(replicas=3, ready=3)
    assert [(pod.created_s, pod.scheduled_s, pod.ready_s) for pod in world.cluster.pods(0)[1:]] == [(0.5, 0.5, 60.5)] * 2


def test_bounds_of_the_variant_hold_whatever_is_wanted(requests_at: Any, scenario: Any, driven: Any) -> None:
    world = driven(scenario(requests_at(NOBODY), variant={"min_replicas": 1, "max_replicas": 4}))
    world.cluster.want(0, 100, 0.0)
    assert world.cluster.wanted == [4]
    world.cluster.want(0, 0, 1.0)
    assert world.cluster.wanted == [1]


def test_a_pod_without_room_is_pending_and_costs_nothing_until_another_goes(requests_at: Any, scenario: Any, driven: Any) -> None:
    world = driven(scenario(requests_at(NOBODY), variant={"accelerators": 4, "initial_replicas": 2}, inventory={"gpu": 9}))
    world.cluster.want(0, 3, 0.0)
    world.until(300.0)
    assert world.cluster.view(0) == View(replicas=3, ready=2, pending=1)
    waiting = world.cluster.pods(0)[2]
    assert waiting.scheduled_s is None
    assert world.cluster.bill.stretches == []
    world.cluster.want(0, 1, 300.0)
    world.until(301.0)
    assert world.cluster.view(0) == View(replicas=1, ready=1), "pending ones go first, then the newest ready"
    world.cluster.want(0, 3, 400.0)
    world.until(500.0)
    assert world.cluster.view(0) == View(replicas=3, ready=2, pending=1)


def test_a_freed_accelerator_goes_to_the_oldest_waiting_pod(requests_at: Any, scenario: Any, driven: Any) -> None:
    world = driven(scenario(requests_at(NOBODY), variant={"initial_replicas": 2, "reclaim_per_h": 20.0}, inventory={"gpu": 2}, seed=3))
    world.cluster.want(0, 3, 0.0)
    world.until(1.0)
    oldest = world.cluster.pods(0)[2]
    world.until(3600.0)
    assert oldest.scheduled_s is not None, "reclaimed spot pods made room"


def test_a_node_that_does_not_exist_yet_is_there_after_the_provisioning_time(requests_at: Any, scenario: Any, driven: Any) -> None:
    world = driven(scenario(requests_at(NOBODY), inventory={"gpu": 3}, free_at_start=1, provisioning_s=100.0))
    world.cluster.want(0, 4, 0.0)
    world.until(100.4)
    assert world.cluster.view(0) == View(replicas=4, ready=1, pending=3)
    world.until(100.5)
    assert world.cluster.view(0) == View(replicas=4, ready=1, starting=2, pending=1), "the inventory has two more, not three"
    world.until(160.5)
    assert world.cluster.view(0) == View(replicas=4, ready=3, pending=1)


def test_more_initial_replicas_than_accelerators_are_refused(requests_at: Any, scenario: Any, driven: Any) -> None:
    with pytest.raises(ValueError, match="inventory: 3 gpu are fewer than the 4"):
        driven(scenario(requests_at(NOBODY), variant={"initial_replicas": 4}, inventory={"gpu": 3}))


def test_a_start_that_fails_is_paid_for_until_it_is_removed(requests_at: Any, scenario: Any, driven: Any) -> None:
    world = driven(scenario(requests_at(NOBODY), variant={"startup": Startup(60.0, fails=1.0)}))
    world.cluster.want(0, 2, 0.0)
    world.until(500.0)
    broken = world.cluster.pods(0)[1]
    assert broken.failed
    assert not broken.ready
    assert world.cluster.failed_starts == 1
    assert world.cluster.view(0) == View(replicas=2, ready=1, starting=1)
    world.cluster.want(0, 1, 500.0)
    world.until(501.0)
    assert world.cluster.bill.stretches == [(0, STARTING, 0.5, 500.5)]


def test_the_nth_start_takes_equally_long_whenever_it_happens(requests_at: Any, scenario: Any, driven: Any) -> None:
    setting = scenario(requests_at(NOBODY), variant={"startup": Startup(60.0, sigma=0.4, fails=0.3), "initial_replicas": 2}, seed=11)

    def starts(times: list[float]) -> list[tuple[float | None, bool]]:
        world = driven(setting)
        for replicas, at_s in enumerate(times, start=3):
            world.until(at_s)
            world.cluster.want(0, replicas, at_s)
        world.until(5000.0)
        pods = world.cluster.pods(0)[2:]
        return [(None if pod.ready_s is None else round(pod.ready_s - pod.scheduled_s, 6), pod.failed) for pod in pods]

    eager, slow = starts([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]), starts([10.0, 700.0, 701.0, 1500.0, 2000.0, 2500.0])
    assert eager == slow
    assert len({seconds for seconds, _ in eager}) > 3
    assert {failed for _, failed in eager} == {True, False}


def test_who_goes_first_is_what_a_replicaset_does(requests_at: Any, scenario: Any, driven: Any) -> None:
    world = driven(scenario(requests_at(NOBODY), inventory={"gpu": 4}, variant={"initial_replicas": 1}))
    for at_s, replicas in ((0.0, 2), (100.0, 3), (180.0, 5)):
        world.until(at_s)
        world.cluster.want(0, replicas, at_s)
    world.until(181.0)
    initial, older, newer, starting, pending = world.cluster.pods(0)
    assert (older.ready_s, newer.ready_s, starting.ready_s, pending.scheduled_s) == (60.5, 160.5, None, None)
    world.cluster.victims[0] = frozenset({initial.name})
    for at_s, replicas, left in ((182.0, 4, [initial, older, newer, starting]), (183.0, 3, [initial, older, newer]), (184.0, 2, [older, newer])):
        world.cluster.want(0, replicas, at_s)
        world.until(at_s + 0.5)
        assert [pod for pod in world.cluster.pods(0) if pod.leaving_s is None] == left
    world.cluster.want(0, 1, 190.0)
    world.until(191.0)
    assert world.cluster.pods(0) == [older], "of unmarked ones the newest ready"


def test_a_draining_replica_finishes_its_work_and_is_paid_until_it_is_empty(requests_at: Any, scenario: Any, driven: Any) -> None:
    world = driven(scenario(requests_at([10.0], outputs=400)))
    world.until(10.0)
    world.cluster.want(0, 0, 10.5)
    world.until(60.0)
    assert world.fleet.end_s[0] > 12.0
    assert world.cluster.bill.stretches == [(0, SERVING, 0.0, 11.0), (0, DRAINED, 11.0, pytest.approx(world.fleet.end_s[0]))]
    assert world.cluster.pods(0) == []


def test_a_replica_that_does_not_get_empty_is_cut_off_and_its_request_is_lost(requests_at: Any, scenario: Any, driven: Any) -> None:
    world = driven(scenario(requests_at([10.0], outputs=5000), drain_limit_s=20.0))
    world.until(10.0)
    world.cluster.want(0, 0, 10.5)
    world.until(200.0)
    assert world.cluster.bill.stretches == [(0, SERVING, 0.0, 11.0), (0, DRAINED, 11.0, 31.0)]
    assert world.fleet.counters(0).lost == 1


def test_a_crashed_engine_loads_again_in_its_pod_and_its_requests_are_answered_late(requests_at: Any, scenario: Any, driven: Any) -> None:
    world = driven(scenario(requests_at([float(at_s) for at_s in range(3000)], outputs=200), variant={"crash_per_h": 3.0}, seed=1))
    pod = world.cluster.pods(0)[0]
    world.until(4000.0)
    assert world.cluster.pods(0) == [pod], "the pod stays"
    kinds = [kind for _, kind, _, _ in world.cluster.bill.stretches]
    assert kinds[:2] == [SERVING, STARTING]
    again = world.cluster.bill.stretches[1]
    assert again[3] - again[2] == pytest.approx(60.0)
    assert world.fleet.counters(0).lost == 0
    assert world.fleet.counters(0).completed == 3000


def test_a_reclaimed_spot_replica_is_gone_at_once_and_replaced_by_another_pod(requests_at: Any, scenario: Any, driven: Any) -> None:
    world = driven(scenario(requests_at(NOBODY), variant={"reclaim_per_h": 2.0}, seed=1))
    first = world.cluster.pods(0)[0]
    world.until(9_000.0)
    assert first.gone_s is not None
    second = world.cluster.pods(0)[0]
    assert second is not first
    assert world.cluster.wanted == [1]
    assert world.cluster.scale_events == 0, "nobody changed the number"
