"""A replica that has work and does none counts as nothing and is replaced; missing data never makes one."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from core_worlds import KEY, NOW, SMALL, busy, demand, deployment, pod, state, variant_state, world

from jevons.core import stuck
from jevons.core.decide import decide
from jevons.core.health import Health
from jevons.core.memory import Memory
from jevons.core.observed import Known, Unknown
from jevons.core.snapshot import PodSignals
from jevons.core.spec import ScalingMode, ScalingSpec

ONE = deployment(SMALL)


def frozen(uid, now, **changes):
    """Ready, with four requests, a quiet GPU and no tokens."""
    signals = PodSignals(Known(4.0, now), Known(2.0, now), Known(0.3, now), Known(0.0, now), Known(0.0, now), Known(0.0, now))
    return pod(uid, now, signals=replace(signals, **changes))


def working(uid, now, running=10.0):
    return pod(uid, now, running=running, util=0.9)


class Fleet:
    """Passes over pods made anew for each second; a replaced pod is obeyed or not."""

    def __init__(self, pods_at, *, spec=ONE, rate=10.0, replicas=None, **changes):
        self.pods_at, self.spec, self.rate, self.replicas, self.changes = pods_at, spec, rate, replicas, changes
        self.now, self.memory, self.replaced, self.last = NOW, Memory(), [], None

    def passes(self, seconds, step_s=15.0):
        end_s = self.now + seconds
        while self.now < end_s:
            pods = self.pods_at(self.now)
            seen = state(self.spec, {"small": variant_state(*pods, replicas=self.replicas)}, demand=(demand(self.rate, self.now),))
            seen = replace(seen, last_arrival_at_s=self.now if self.rate else NOW - 9000.0)
            snapshot = world(seen, now=self.now, memory=self.memory, **{"metrics": Known(None, self.now), **self.changes})
            decision = decide(snapshot, self.now)
            self.memory, self.last = decision.memory, decision.deployments[KEY]
            if self.target.replace:
                self.replaced.append((self.now - NOW, self.target.replace))
            self.now += step_s
        return self

    @property
    def target(self):
        return self.last.replicas[0]

    def condition(self, kind):
        found = next(each for each in self.last.conditions if each.type == kind)
        return found.status, found.reason


def test_work_without_gpu_and_tokens_for_minutes_is_replaced_and_said_so():
    fleet = Fleet(lambda now: [working("a", now), frozen("b", now)]).passes(180.0)
    assert fleet.replaced == []
    fleet.passes(15.0)
    assert fleet.replaced == [(180.0, "b")]
    assert (fleet.target.desired, fleet.target.reason, fleet.target.stuck) == (2, "ReplicaStuck", ("b",))
    assert fleet.condition("ObjectivesMet") == ("False", "ReplicaStuck")
    assert fleet.condition("Ready") == ("True", "Serving")
    event = next(each for each in fleet.last.events if each.reason == "ReplicaStuck")
    assert (event.type, event.message) == ("Warning", "small: b has had requests, a quiet GPU and no tokens for 180 s; another pod takes its place")


def test_a_stuck_replica_is_no_capacity_at_once():
    def need(second):
        fleet = Fleet(
            lambda now: [working("a", now), second(now)], rate=11.0, spec=deployment(SMALL, scaling=ScalingSpec(mode=ScalingMode.RECOMMEND))
        )
        return fleet.passes(195.0).target.recommended

    assert need(lambda now: frozen("b", now)) == need(lambda now: working("b", now)) + 1


@pytest.mark.parametrize(
    "changes",
    [
        {"gpu_util": Unknown("NotExposed")},
        {"gpu_util": Unknown("NoData")},
        {"gpu_util": Known(0.0, NOW - 500.0)},
        {"gpu_util": Known(float("nan"), NOW + 300.0)},
        {"gpu_util": Known(0.5, NOW + 300.0)},
        {"generation_tokens_per_s": Unknown("NoData")},
        {"prompt_tokens_per_s": Unknown("Stale")},
        {"prompt_tokens_per_s": Known(900.0, NOW + 300.0)},
        {"generation_tokens_per_s": Known(3.0, NOW + 300.0)},
        {"running": Known(0.0, NOW + 300.0), "waiting": Known(0.0, NOW + 300.0)},
        {"running": Unknown("NoData"), "waiting": Unknown("NoData")},
    ],
    ids=lambda changes: "-".join(f"{name} {value}" for name, value in changes.items())[:60],
)
def test_no_data_and_any_sign_of_life_never_make_a_stuck_replica(changes):
    fleet = Fleet(lambda now: [working("a", now), frozen("b", now, **changes)]).passes(900.0)
    assert (fleet.replaced, fleet.target.stuck) == ([], ())


def test_an_engine_without_token_counters_is_judged_by_its_gpu_alone():
    hidden = Unknown("NotExposed")
    fleet = Fleet(lambda now: [working("a", now), frozen("b", now, prompt_tokens_per_s=hidden, generation_tokens_per_s=hidden)]).passes(200.0)
    assert fleet.replaced == [(180.0, "b")]


def test_a_sign_of_life_or_a_missing_reading_begins_the_minutes_anew():
    for broken in ({"generation_tokens_per_s": Known(5.0, NOW + 120.0)}, {"gpu_util": Unknown("NoData")}):
        fleet = Fleet(lambda now, broken=broken: [working("a", now), frozen("b", now, **(broken if now == NOW + 120.0 else {}))]).passes(300.0)
        assert fleet.replaced == []
        assert fleet.passes(30.0).replaced == [(315.0, "b")]


def test_nobody_knows_what_was_between_two_sightings_far_apart():
    assert Fleet(lambda now: [working("a", now), frozen("b", now)]).passes(360.0, step_s=120.0).replaced == []


def test_a_broken_image_makes_no_storm():
    assert [stuck.pause_s(Health(replacements=number)) for number in (0, 1, 2, 3, 9)] == [0.0, 300.0, 600.0, 1200.0, 3600.0]

    def ever_frozen(now):
        return [frozen(f"{place}-{int((now - NOW) // 240)}", now) for place in "abc"]

    fleet = Fleet(ever_frozen, spec=deployment(replace(SMALL, min_replicas=3))).passes(4 * 3600.0)
    times = [at_s for at_s, _ in fleet.replaced]
    assert 4 <= len(times) <= 7
    assert all(after - before >= 300.0 for before, after in pairwise(times))


def test_one_at_a_time_the_longest_first_and_not_before_the_successor_is_ready():
    full = busy(SMALL, 16.0)

    def pods(now):
        if now <= NOW + 240.0:
            return [working("a", now, full), frozen("b", now), *([frozen("c", now)] if now > NOW + 30.0 else [working("c", now, full)])]
        ready_s = None if now < NOW + 900.0 else NOW + 900.0
        return [
            working("a", now, full),
            replace(pod("d", now), created_at_s=NOW + 885.0 if ready_s is None else NOW, ready_at_s=ready_s),
            frozen("c", now),
        ]

    fleet = Fleet(pods, rate=16.0).passes(885.0)
    assert fleet.replaced == [(180.0, "b")]
    assert [name for _, name in fleet.passes(60.0).replaced] == ["b", "c"]


def test_when_nothing_works_the_stuck_one_is_replaced_and_the_variant_is_not_ready():
    fleet = Fleet(lambda now: [frozen("a", now)], rate=2.0).passes(195.0)
    assert fleet.replaced == [(180.0, "a")]
    assert fleet.condition("Ready") == ("False", "ReplicaStuck")
    assert fleet.target.desired == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": deployment(SMALL, scaling=ScalingSpec(mode=ScalingMode.RECOMMEND))},
        {"started_at_s": NOW + 100.0},
        {"metrics_back_since_s": NOW + 50.0},
    ],
    ids=["recommend", "just started", "metrics just back"],
)
def test_nothing_is_replaced_where_nothing_may_be_touched(changes):
    fleet = Fleet(lambda now: [working("a", now), frozen("b", now)], **changes).passes(240.0)
    assert (fleet.replaced, fleet.target.stuck) == ([], ("b",))


def test_a_stuck_replica_of_a_model_that_nobody_asks_for_goes_to_sleep_with_it():
    fleet = Fleet(lambda now: [frozen("a", now)], rate=0.0).passes(1200.0)
    assert fleet.target.desired == 0


def test_evidence_survives_a_restart():
    fleet = Fleet(lambda now: [working("a", now), frozen("b", now)]).passes(195.0)
    kept = Memory.from_json({KEY: fleet.memory.to_json(KEY)})
    assert kept.deployments[KEY].variants["small"].health == fleet.memory.deployments[KEY].variants["small"].health
    fleet.memory = kept
    assert fleet.passes(270.0).replaced == [(180.0, "b")]
