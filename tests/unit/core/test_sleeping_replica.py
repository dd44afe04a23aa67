"""A replica that sleeps in host memory: when it lies down, what wakes it, what it is taken for meanwhile, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from core_worlds import KEY, LARGE, NOW, SMALL, demand, deployment, held, pod, state, variant_state, world

from jevons.core.decide import decide
from jevons.core.hazard import with_gap
from jevons.core.health import Health
from jevons.core.ledger import Ledger
from jevons.core.memory import DeploymentMemory, Memory, VariantMemory
from jevons.core.observed import Known, Unknown
from jevons.core.spec import ScalingMode, ScalingSpec, Sleep

SLEEPER = replace(SMALL, sleep=Sleep(Decimal("0.1"), 5.0))
BY_HAND = deployment(SLEEPER)
LEARNED = replace(BY_HAND, scaling=ScalingSpec())
HOUR = 3600.0


def remembering(called_s, gaps=(), **changes):
    """Memory of a deployment that was called last at that time."""
    variant = VariantMemory(work_at_s=called_s, **changes)
    return Memory({KEY: DeploymentMemory(variants={"small": variant}, gaps=gaps, last_arrival_at_s=called_s)})


def asked(*pods, spec=BY_HAND, quiet_s=HOUR, now=NOW, memory=None, ledger=None, **changes):
    """One pass over these pods, so long after the last call."""
    called_s = now - quiet_s
    plain = {"demand": (demand(0.0, now),), "last_arrival_at_s": called_s}
    told = {key: changes.pop(key) for key in tuple(changes) if key in {"metrics", "started_at_s"}}
    seen = state(spec, {"small": variant_state(*pods, replicas=changes.pop("replicas", len(pods)))}, **{**plain, **changes})
    kept = remembering(called_s) if memory is None else memory
    base = world(seen, now=now, memory=kept, ledger=ledger or Ledger(), **{"metrics": Known(None, now), **told})
    return decide(base, now)


def target(decision):
    return decision.deployments[KEY].replicas[0]


def sleeping(uid, now=NOW, since_s=600.0, *, asleep=True, **changes):
    return pod(uid, now, age_s=7200.0, marked_at_s=now - since_s, asleep=asleep, **changes)


def test_after_the_time_by_hand_the_last_replica_sleeps_and_the_others_go():
    before = target(asked(pod("a"), quiet_s=200.0))
    assert (before.desired, before.asleep) == (1, ())
    after = target(asked(pod("a"), pod("b"), quiet_s=400.0))
    assert (after.desired, after.asleep, after.reason) == (1, ("a",), "Sleep")


@pytest.mark.parametrize("sleep", [Sleep(Decimal(1), 5.0), Sleep(Decimal("0.1"), 300.0)])
def test_where_sleeping_saves_nothing_it_goes_as_before(sleep):
    spec = deployment(replace(SLEEPER, sleep=sleep))
    assert target(asked(pod("a"), spec=spec, quiet_s=400.0)).desired == 0
    assert target(asked(sleeping("a"), spec=spec, quiet_s=400.0)).desired == 0


def test_without_the_field_it_goes_as_before():
    assert target(asked(pod("a"), spec=deployment(SMALL), quiet_s=400.0)).desired == 0


def test_a_sleeping_replica_costs_its_share_until_that_is_dearer_than_a_start():
    # Auto: a cold call costs eleven starts (660 s), a wake 5 + 50 s: at a tenth of the price, sleeping pays for 6,050 s
    assert target(asked(sleeping("a"), quiet_s=6000.0)).asleep == ("a",)
    gone = target(asked(sleeping("a"), quiet_s=6200.0))
    assert (gone.desired, gone.asleep, gone.reason) == (0, (), "Idle")


def test_explain_tells_what_a_plan_with_a_sleeper_costs():
    (chosen, *_) = asked(sleeping("a"), quiet_s=6000.0).deployments[KEY].explanation.alternatives
    assert chosen == ("1 small", "0.367 USD/h", "chosen")


@pytest.mark.parametrize("asleep", [True, False])
def test_who_waits_wakes_it_and_is_told_how_long_that_takes(asleep):
    decision = asked(sleeping("a", asleep=asleep), held=(held("small", 3),))
    woken = target(decision)
    assert (woken.desired, woken.asleep, woken.reason) == (1, (), "Wake")
    assert woken.message == "waking small for 3 waiting requests, about 5 s"
    route = decision.deployments[KEY].routing.variants[0]
    assert (route.state, route.startup_s) == ("Waking", 5.0)


def test_while_it_sleeps_pickers_see_it_asleep_and_people_are_told():
    made = asked(sleeping("a"), quiet_s=1000.0).deployments[KEY]
    assert (made.routing.variants[0].state, made.routing.variants[0].startup_s) == ("Asleep", 5.0)
    assert made.replicas[0].reason == "Asleep"
    ready = next(one for one in made.conditions if one.type == "Ready")
    assert (ready.status, ready.reason) == ("True", "Asleep")
    assert "sleeps in host memory" in made.replicas[0].message
    told = {name: text for name, text, _ in made.explanation.inputs}
    assert told["pods[small]"] == "0 ready, 0.0 expected, 0 running, 0 waiting, 0 unseen, 1 asleep in host memory"


def test_hours_of_sleep_are_no_failed_start():
    memory, spec = remembering(NOW), replace(BY_HAND, variants=(replace(SLEEPER, sleep=Sleep(Decimal("0.01"), 5.0)),))
    for now in range(int(NOW) + 400, int(NOW) + 12_000, 60):
        decision = asked(sleeping("a", float(now)), spec=spec, now=float(now), quiet_s=now - NOW, memory=memory)
        memory = decision.memory
        assert target(decision).asleep == ("a",)
    seen = memory.deployments[KEY].variants["small"]
    assert (seen.failed_starts, seen.start_at_s, seen.parked_until_s) == (0, None, None)


def test_a_request_in_flight_when_it_was_marked_keeps_it_awake():
    assert target(asked(sleeping("a", asleep=False, running=1.0))).asleep == ()


def test_a_call_after_the_mark_keeps_it_awake_though_nobody_sees_it_any_more():
    assert target(asked(sleeping("a", asleep=False, since_s=5.0), quiet_s=1.0)).asleep == ()
    assert target(asked(sleeping("a", asleep=False, since_s=5.0), quiet_s=400.0)).asleep == ("a",)


@pytest.mark.parametrize("changes", [{"metrics": Unknown("NoData")}, {"demand": (demand(0.0, arrivals_per_s=Unknown("Stale")),)}])
def test_nothing_known_changes_nothing_for_one_that_sleeps(changes):
    seen = target(asked(sleeping("a"), **changes))
    assert (seen.desired, seen.asleep) == (1, ("a",))
    assert target(asked(pod("b"), **changes)).asleep == ()


def test_the_fallback_for_metrics_that_stay_away_is_replicas_that_serve():
    spec = replace(BY_HAND, scaling=ScalingSpec(idle_after_s=300.0, fallback_after_s=600.0, fallback_replicas=1))
    seen = state(spec, {"small": variant_state(sleeping("a"))}, last_arrival_at_s=NOW - HOUR)
    away = world(seen, metrics=Unknown("SourceDown"), metrics_down_since_s=NOW - 700.0, memory=remembering(NOW - HOUR))
    woken = target(decide(away, NOW))
    assert (woken.desired, woken.asleep, woken.reason) == (1, (), "Fallback")


def test_more_than_one_replica_is_needed_and_the_sleeping_one_is_the_first_of_them():
    busy = target(asked(sleeping("a"), held=(held("small", 40),), demand=(demand(40.0),), quiet_s=0.0))
    assert busy.asleep == ()
    assert busy.desired > 1


def test_a_minimum_is_kept_loaded():
    assert target(asked(pod("a"), spec=deployment(replace(SLEEPER, min_replicas=1)))).asleep == ()


@pytest.mark.parametrize("mode", [ScalingMode.RECOMMEND, ScalingMode.PAUSED])
def test_where_replicas_are_not_ours_whatever_slept_is_woken(mode):
    spec = replace(BY_HAND, scaling=ScalingSpec(mode=mode, idle_after_s=300.0))
    made = asked(sleeping("a"), spec=spec).deployments[KEY]
    assert (made.replicas[0].asleep, made.routing.variants[0].state) == ((), "Waking")


def test_a_spec_without_the_field_wakes_what_slept():
    seen = target(asked(sleeping("a"), spec=deployment(SMALL), quiet_s=100.0))
    assert (seen.desired, seen.asleep) == (1, ())


def test_an_engine_that_refused_to_sleep_is_let_go_instead():
    refused = target(asked(pod("a", sleepless=True), quiet_s=400.0))
    assert (refused.desired, refused.asleep) == (0, ())


def test_by_learned_gaps_it_sleeps_soon_and_wakes_ahead_of_a_periodic_call():
    gaps = ()
    for _ in range(20):
        gaps = with_gap(gaps, 1800.0)
    spec = replace(LEARNED, variants=(replace(SLEEPER, startup_s=300.0, sleep=Sleep(Decimal("0.02"), 30.0)),))

    def after(seconds, *pods):
        return target(asked(*pods, spec=spec, quiet_s=seconds, memory=remembering(NOW - seconds, gaps)))

    assert after(100.0, pod("a")).asleep == ("a",)
    assert after(1000.0, sleeping("a")).asleep == ("a",)
    ahead = after(1775.0, sleeping("a"))
    assert (ahead.asleep, ahead.reason) == ((), "Prewarm")
    assert "of the pauses as long as this one" in ahead.message


def test_how_long_waking_takes_is_learned_and_survives_a_restart():
    memory = remembering(NOW)
    for wake in range(8):
        now = NOW + 1000.0 * wake
        for second in (0.0, 1.0, 12.0):
            there = sleeping("a", now + second) if second < 12.0 else pod("a", now + second)
            decision = asked(there, now=now + second, held=(held("small", 1, now),) if second < 12.0 else (), quiet_s=1.0, memory=memory)
            memory = Memory.from_json({KEY: decision.memory.to_json(KEY)})
    assert memory.deployments[KEY].variants["small"].health.wakes_s == (12.0,) * 8
    assert asked(sleeping("a"), memory=memory).deployments[KEY].routing.variants[0].startup_s == pytest.approx(12.0, rel=0.06)


def test_one_that_does_not_wake_is_replaced_by_another():
    memory, fate = remembering(NOW), {}
    for second in range(0, 120, 15):
        now = NOW + second
        decision = asked(sleeping("a", now), now=now, held=(held("small", 1, NOW),), quiet_s=0.0, memory=memory)
        memory = decision.memory
        fate[second] = decision.deployments[KEY]
    assert [second for second, made in fate.items() if made.replicas[0].replace] == [90], "five seconds are expected, and one at a time is replaced"
    assert fate[90].replicas[0].replace == "a"
    assert "small: a was asleep and has not woken for 90 s" in fate[90].events[-1].message


def test_a_sleeping_replica_is_billed_by_its_share_and_the_pass_of_a_change_in_full():
    spec = replace(BY_HAND, variants=(replace(SLEEPER, sleep=Sleep(Decimal("0.25"), 5.0)),))

    def step(ledger, now, there):
        return asked(there, spec=spec, now=now, ledger=ledger).ledger

    def usd(ledger):
        return ledger.accounts[KEY].usd

    ledger = step(Ledger(), NOW, sleeping("a", NOW))
    before = usd(ledger)
    ledger = step(ledger, NOW + 60.0, sleeping("a", NOW + 60.0))
    asleep = usd(ledger)
    assert asleep - before == pytest.approx(Decimal("3.67") / 60 * Decimal("0.25"))
    ledger = step(Ledger.from_json({KEY: ledger.to_json(KEY)}), NOW + 120.0, pod("a", NOW + 120.0, age_s=7200.0))
    assert usd(ledger) - asleep == pytest.approx(Decimal("3.67") / 60)
    meter = ledger.accounts[KEY].meters[0]
    assert meter.gpu_s > 0.0
    hourly = asked(sleeping("a"), spec=spec).deployments[KEY].cost.hourly_usd
    assert hourly == Decimal("3.67") * Decimal("0.25")


def test_accelerator_seconds_are_those_that_are_held():
    ledger = asked(sleeping("a")).ledger
    later = asked(sleeping("a", NOW + 60.0), now=NOW + 60.0, ledger=ledger).ledger
    assert later.accounts[KEY].meters[0].gpu_s - ledger.accounts[KEY].meters[0].gpu_s == pytest.approx(60.0)


def test_of_two_variants_the_one_that_sleeps_is_no_capacity_while_the_other_serves():
    spec = replace(deployment(replace(LARGE, sleep=Sleep(Decimal("0.1"), 5.0)), SMALL), scaling=ScalingSpec(idle_after_s=300.0))
    variants = {"large": variant_state(sleeping("l")), "small": variant_state(pod("s", running=1.0, util=0.5))}
    seen = state(spec, variants, demand=(demand(0.02),), last_arrival_at_s=NOW)
    before = {"large": VariantMemory(work_at_s=NOW - HOUR), "small": VariantMemory(work_at_s=NOW)}
    memory = Memory({KEY: DeploymentMemory(variants=before, last_arrival_at_s=NOW)})
    made = decide(world(seen, memory=memory), NOW).deployments[KEY]
    assert [route.state for route in made.routing.variants] == ["Asleep", "Ready"]
    assert made.replicas[0].asleep == ("l",)


def test_evidence_of_sleep_is_read_back():
    health = Health(waking=(("a", NOW, NOW + 1.0),), wakes_s=(3.0, 4.0))
    memory = Memory({KEY: DeploymentMemory(variants={"small": VariantMemory(health=health)})})
    assert Memory.from_json({KEY: memory.to_json(KEY)}).deployments[KEY].variants["small"].health == health
