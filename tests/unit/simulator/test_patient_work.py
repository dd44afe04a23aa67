"""The second line in front of a variant: who can wait goes when a replica has little to do, or when patience ends, and behind everybody else."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from jevons.core.spec import Objectives, Priority, Profile, RequestClass, Tier
from jevons.gateway import room_hold, room_queue
from jevons.gateway.room_queue import Waiter
from jevons.simulator import kernel_patient
from jevons.simulator.competitors import jevons, static
from jevons.simulator.fleet import Fleet
from jevons.simulator.scenario import DEFAULT_RANK, Physics, Requests, Scenario, SimClass, SimVariant, Startup, met
from jevons.simulator.world import simulate

PROFILE = Profile(0.01, 0.001, 0.0, 0.05, 0.1, 0.0, kv_tokens=10_000, max_num_seqs=8, chunk_tokens=2048)
PHYSICS = Physics(PROFILE)
NOW, FLEX, BATCH = (SimClass(RequestClass("any", tier=tier)).rank for tier in (Tier.INTERACTIVE, Tier.FLEX, Tier.BATCH))
FIRST_LOOK_S = kernel_patient.SETTLE_S


def requests(*rows: tuple[float, int], given: int = 100, wanted: int = 10) -> Requests:
    """(arrival, class)."""
    at_s, klass = zip(*rows, strict=True)
    n = len(rows)
    same = (np.full(n, given, np.int32), np.full(n, wanted, np.int32), np.zeros(n, np.int32), np.zeros(n, np.float32))
    return Requests(np.array(at_s), *same, np.array(klass, np.int16))


def fleet_of(asked: Requests, *, idle: float = 0.0, patience_s: float = 100.0, **more: object) -> Fleet:
    """Class 0 cannot wait; 1 is Flex and 2 Batch."""
    fleet = Fleet([PHYSICS], asked, ranks=(NOW, FLEX, BATCH), **more)  # type: ignore[arg-type]
    fleet.patience_s[asked.klass > 0] = patience_s
    fleet.keep_idle(0, idle)
    return fleet


def alone_s() -> tuple[float, float]:
    """First token and end of one of `requests` that has a replica for itself."""
    fleet = Fleet([PHYSICS], requests((0.0, 0)))
    fleet.ready(0, 0.0)
    fleet.advance(math.inf)
    return float(fleet.first_token_s[0]), float(fleet.end_s[0])


def test_times_and_order_are_the_gateways():
    assert (kernel_patient.SETTLE_S, kernel_patient.STEP_S) == (room_hold.SETTLE_S, room_hold.STEP_S)
    assert kernel_patient.FOR_OTHERS == room_queue.FOR_OTHERS
    kinds = [(tier, priority) for tier in Tier for priority in Priority]
    ranks = [SimClass(RequestClass("any", tier=tier, priority=priority)).rank for tier, priority in kinds]
    theirs = [Waiter("m", "v", 0.0, 1.0, tier=str(tier), priority=str(priority)).rank for tier, priority in kinds]
    assert sorted(kinds, key=dict(zip(kinds, ranks, strict=True)).get) == sorted(kinds, key=dict(zip(kinds, theirs, strict=True)).get)
    assert SimClass(RequestClass("default")).rank == DEFAULT_RANK


def test_on_an_idle_replica_nobody_waits():
    fleet = fleet_of(requests((1.0, 2)))
    fleet.ready(0, 0.0)
    fleet.advance(math.inf)
    assert fleet.first_token_s[0] == 1.0 + alone_s()[0]
    assert fleet.waited_s[0] == 0.0


def test_on_a_busy_replica_it_waits_for_the_first_look_at_which_there_is_room():
    fleet = fleet_of(requests((0.0, 0), (0.01, 2)))
    fleet.ready(0, 0.0)
    fleet.advance(0.02)
    assert (fleet.counters(0).held, fleet.counters(0).patient) == (0, 1)
    fleet.advance(math.inf)
    looks = 0.01 + FIRST_LOOK_S + kernel_patient.STEP_S * np.arange(10)
    assert fleet.waited_s[1] + 0.01 == pytest.approx(looks[looks >= alone_s()[1]][0])


def test_one_goes_for_each_replica_that_has_room():
    fleet = fleet_of(requests(*[(0.0, 0)] * 2, *[(0.01, 2)] * 5))
    for _ in range(2):
        fleet.ready(0, 0.0)
    left = []
    for look in range(8):
        fleet.advance(0.011 + FIRST_LOOK_S + look * kernel_patient.STEP_S)
        left.append(fleet.counters(0).patient)
    assert left == [5, 3, 1, 0, 0, 0, 0, 0]


def test_idle_tokens_say_how_much_work_is_little():
    asked = requests((0.0, 0), (0.01, 2))
    fleet = fleet_of(asked, idle=110.0)
    fleet.ready(0, 0.0)
    fleet.advance(math.inf)
    assert fleet.waited_s[1] == 0.0


def test_of_those_that_wait_flex_goes_before_batch_and_then_who_came_first():
    fleet = fleet_of(requests((0.0, 0), (0.01, 2), (0.02, 1), (0.03, 2), (0.04, 1)))
    fleet.ready(0, 0.0)
    fleet.advance(math.inf)
    assert np.argsort(fleet.first_token_s).tolist() == [0, 2, 4, 1, 3]


def test_at_the_end_of_its_patience_it_goes_to_a_busy_replica():
    fleet = fleet_of(requests((0.0, 0), (0.01, 2), wanted=2000), patience_s=3.0)
    fleet.ready(0, 0.0)
    fleet.advance(math.inf)
    assert fleet.waited_s[1] == pytest.approx(3.0)
    assert fleet.end_s[0] > 10.0


def test_nobody_is_patient_for_more_than_half_of_how_long_it_may_wait():
    fleet = fleet_of(requests((0.0, 0), (0.01, 2), wanted=2000), patience_s=300.0, max_wait_s=8.0)
    fleet.ready(0, 0.0)
    fleet.advance(math.inf)
    assert fleet.waited_s[1] == pytest.approx(4.0)


def test_with_nothing_ready_it_is_held_when_its_patience_ends_and_not_before():
    fleet = fleet_of(requests((0.0, 2)), patience_s=5.0)
    fleet.advance(4.9)
    assert (fleet.counters(0).held, fleet.counters(0).patient, fleet.due_s(0)) == (0, 1, 5.0)
    fleet.advance(5.0)
    assert (fleet.counters(0).held, fleet.counters(0).patient, fleet.due_s(0)) == (1, 0, math.inf)
    assert fleet.oldest_s(0) == 0.0


def test_when_a_replica_comes_those_who_cannot_wait_go_first_whoever_came_first():
    fleet = fleet_of(requests((0.0, 2), (0.5, 2), (1.0, 1), (2.0, 0), given=1500), patience_s=4.0)
    fleet.ready(0, 4.6)  # the first two have waited out their patience
    fleet.advance(math.inf)
    assert np.argsort(fleet.first_token_s).tolist() == [3, 0, 1, 2]


def test_where_the_room_is_full_it_goes_at_once_or_is_refused_where_nothing_is_ready():
    asked = requests((0.0, 0), (0.01, 2), (0.02, 2), (0.03, 2), wanted=500)
    fleet = fleet_of(asked, max_waiting=2)
    fleet.ready(0, 0.0)
    fleet.advance(math.inf)
    assert fleet.waited_s[3] == 0.0
    assert (fleet.waited_s[1:3] > 0.0).all()
    asleep = fleet_of(asked, max_waiting=2)
    asleep.advance(0.04)
    assert (asleep.counters(0).held, asleep.counters(0).patient, asleep.counters(0).refused) == (1, 1, 2)


def test_who_waits_too_long_is_refused_although_it_is_not_the_first_in_the_line():
    fleet = fleet_of(requests((0.0, 2), (3.0, 0)), patience_s=1.0, max_wait_s=5.0)
    fleet.advance(4.0)
    assert fleet.counters(0).held == 2
    fleet.advance(5.5)
    assert (fleet.counters(0).held, fleet.counters(0).refused) == (1, 1)


def test_requests_of_an_unknown_class_are_an_error():
    with pytest.raises(ValueError, match=r"classes are 0\.\.2"):
        fleet_of(requests((0.0, 3)))


def world(asked: Requests, **variant: object) -> Scenario:
    only = SimVariant("only", Physics(replace(PROFILE, kv_tokens=100_000)), Startup(40.0), usd_per_h=36.0, max_replicas=8)
    classes = (SimClass(RequestClass("flex", tier=Tier.FLEX), 162.0), SimClass(RequestClass("nightly", tier=Tier.BATCH), 432.0))
    return Scenario("patient", asked, (replace(only, **variant),), Objectives(95.0, 2.0, 0.06), classes=classes)  # type: ignore[arg-type]


def test_patient_work_wakes_a_sleeping_model_only_when_its_patience_is_over():
    scenario = world(requests((20.0, 2)), initial_replicas=0)  # after the first pass: before it there is no plan
    outcome = simulate(scenario, jevons(scenario))
    ready_s = outcome.timeline[:, 0][outcome.timeline[:, 2] > 0][0]  # the first scrape that shows a start
    assert 320.0 <= ready_s <= 335.0  # half of 600 s is the most that anybody is patient
    assert outcome.waited_s[0] == pytest.approx(300.0 + 40.0, abs=2.0)
    assert met(scenario.requests, outcome, scenario.objectives, scenario.classes).all()
    at_once = replace(scenario, requests=requests((20.0, 0)))
    assert simulate(at_once, jevons(at_once)).waited_s[0] == pytest.approx(40.0, abs=2.0)


def test_somebody_who_cannot_wait_brings_the_replica_that_patient_work_uses():
    scenario = world(requests((20.0, 2), (40.0, 0)), initial_replicas=0)
    outcome = simulate(scenario, jevons(scenario))
    assert outcome.first_token_s[1] < outcome.first_token_s[0] < outcome.first_token_s[1] + 2.0
    assert outcome.scale_events <= 2


def test_work_that_can_wait_takes_no_replicas_of_its_own_and_is_in_time():
    chance = np.random.default_rng(3)
    at_s = np.sort(chance.random(3600)) * 1200.0
    few, many = (
        requests(*((float(at), 2 if lot < part else 0) for at, lot in zip(at_s, chance.random(3600), strict=True)), wanted=150) for part in (0.0, 0.5)
    )
    bills = []
    for asked in (few, many):
        scenario = world(asked)
        outcome = simulate(scenario, jevons(scenario))
        good = met(scenario.requests, outcome, scenario.objectives, scenario.classes)
        assert good[asked.klass == 0].mean() >= 0.9
        assert not (asked.klass == 2).any() or good[asked.klass == 2].mean() >= 0.9
        bills.append(outcome.usd)
    assert bills[1] <= bills[0]


def test_a_fleet_without_a_gateway_of_ours_keeps_nobody_waiting():
    scenario = world(requests(*((0.1 * at, 2 * (at % 2)) for at in range(40))))
    outcome = simulate(scenario, static({"only": 1}))
    assert outcome.waited_s.max() == 0.0
    assert outcome.patience_s.max() == 0.0
