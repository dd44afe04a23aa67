"""When a sleeping model is loaded: after a call, ahead of a likely one, and because another model was called."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from core_worlds import KEY, NOW, SMALL, demand, deployment, held, pod, state, variant_state, world

from jevons.core import attainment, hazard, idle
from jevons.core.decide import decide
from jevons.core.memory import Attained, DeploymentMemory, Memory, VariantMemory
from jevons.core.observed import Known, Unknown
from jevons.core.snapshot import Outcomes
from jevons.core.spec import BudgetSpec, Key, Objectives, Period, Rung, ScalingSpec

AUTO = deployment(SMALL, scaling=ScalingSpec(), objectives=Objectives(late_cost_usd=Decimal("0.3")))
"""A late answer is worth 300 s of the replica; a start takes 60 s."""


def history(*gaps_s, times=1):
    made = ()
    for gap_s in gaps_s * times:
        made = hazard.with_gap(made, gap_s)
    return made


EVERY_HALF_HOUR = history(1790.0, 1800.0, 1810.0, times=10)


def remembered(gaps=EVERY_HALF_HOUR, called_s=600.0, **changes):
    return DeploymentMemory({"small": VariantMemory(work_at_s=NOW - called_s)}, gaps=gaps, last_arrival_at_s=NOW - called_s, **changes)


def asleep(called_s=600.0, spec=AUTO, **changes):
    return state(spec, {"small": variant_state()}, demand=(demand(0.0),), last_arrival_at_s=NOW - called_s, **changes)


def target(item, memory, **world_changes):
    return decide(world(item, memory=Memory({KEY: memory}), **world_changes), NOW).deployments[KEY].replicas[0]


def fate(item, memory, **world_changes):
    found = target(item, memory, **world_changes)
    return found.desired, found.reason


def test_a_gap_is_counted_in_its_bin():
    assert [index for index, count in enumerate(hazard.with_gap((), 300.0)) if count] == [23, hazard.BINS + 2], "and as one that lasted"
    assert round(hazard.EDGES[hazard.QUIET_STEPS + 23], 1) == 284.4
    assert round(hazard.EDGES[hazard.QUIET_STEPS + 24], 1) == 304.3


def test_a_gap_on_an_edge_is_in_the_bin_that_begins_there_and_the_last_bin_has_no_end():
    for index in (0, 1, 40, hazard.BINS - 1):
        assert hazard.with_gap((), hazard.EDGES[hazard.QUIET_STEPS + index])[index] == 1.0
    assert hazard.pauses(hazard.with_gap((), 1e9))[-1] == 1.0
    assert hazard.with_gap((), 29.0) == ()


def test_quiet_of_less_than_a_minute_is_counted_apart_and_forgets_no_pause():
    known = EVERY_HALF_HOUR
    for gap_s in (30.0, 44.0, 46.0) * 30:
        known = hazard.with_gap(known, gap_s)
    assert hazard.pauses(known) == hazard.pauses(EVERY_HALF_HOUR)
    assert [round(count) for count in known[hazard.BINS :]] == [28, 14, 4], "23 pauses, and then ninety times brief quiet"
    assert hazard.pauses(history(45.0)) == (0.0,) * hazard.BINS


def test_who_often_calls_again_within_a_minute_is_kept_for_it_and_nobody_else_is():
    bursts, talks = history(300.0, times=40), history(35.0, 50.0, 35.0, 50.0, 300.0, times=40)
    assert hazard.windows(30.0, 200.0, bursts)[0] == (0.0, hazard.HOLD_S)
    assert hazard.windows(30.0, 200.0, talks)[0][1] >= 60.0
    assert hazard.windows(30.0, 200.0, (), hazard.pooled([talks] * 2))[0][1] >= 60.0, "and a young model is taken for one of the others"
    assert hazard.windows(30.0, 200.0, (), hazard.pooled([bursts] * 2))[0] == (0.0, hazard.HOLD_S)


def test_a_history_without_brief_quiet_is_read():
    old = hazard.pauses(EVERY_HALF_HOUR)
    assert hazard.rebinned(old) == old
    assert hazard.windows(60.0, 300.0, old) == hazard.windows(60.0, 300.0, EVERY_HALF_HOUR)
    assert hazard.rebinned(EVERY_HALF_HOUR) == EVERY_HALF_HOUR
    assert hazard.with_gap(old, 40.0)[: hazard.BINS] == old


def test_a_periodic_caller_is_let_go_at_once_and_loaded_before_its_time():
    first, second = hazard.windows(60.0, 300.0, EVERY_HALF_HOUR)
    assert first == (0.0, hazard.HOLD_S)
    assert second[0] + hazard.lead_s(60.0) < 1790.0
    assert second[1] > 1810.0
    assert second[1] - second[0] < 500.0


def test_a_call_worth_little_is_not_prepared_for():
    assert hazard.windows(60.0, 5.0, history(300.0, 1200.0, 5000.0, 9000.0, 17_000.0, times=6)) == ((0.0, hazard.HOLD_S),)


def test_a_call_worth_everything_finds_the_model_loaded():
    plan = hazard.windows(60.0, 1e7, history(100.0, 700.0, 9000.0, times=20))
    assert all(hazard.window(plan, gap_s) is not None for gap_s in (100.0, 700.0, 9000.0))
    assert hazard.window(plan, 5000.0) is None


def test_a_young_model_is_taken_for_one_of_the_others():
    prior = hazard.pooled([EVERY_HALF_HOUR] * 3)
    assert hazard.windows(60.0, 300.0, ()) == ((0.0, 360.0),), "alone, it is kept for what a start and a late answer are worth"
    assert hazard.windows(60.0, 300.0, (), prior)[0] == (0.0, hazard.HOLD_S)
    assert len(hazard.windows(60.0, 300.0, (), prior)) == 2


def test_few_gaps_make_no_prior():
    assert hazard.pooled([]) == hazard.pooled([(), (1.0,) * 3]) == hazard.pooled([history(600.0)]) == ()
    assert sum(hazard.pauses(hazard.pooled([EVERY_HALF_HOUR, history(100.0)]))) == pytest.approx(1.0, abs=0.001)


def test_a_history_in_wider_bins_is_read():
    old = ()
    for _ in range(12):
        old = idle.with_gap(old, 1800.0)
    read = hazard.rebinned(old)
    assert sum(read) == pytest.approx(sum(old))
    assert len(hazard.windows(60.0, 300.0, read)) == 2
    assert hazard.rebinned((1.0, 2.0)) == ()


def test_the_next_call_is_prepared_for_and_the_event_says_why():
    memory, item = remembered(called_s=1705.0), asleep(1705.0)
    assert fate(item, memory) == (1, "Prewarm")
    decision = decide(world(item, memory=Memory({KEY: memory})), NOW).deployments[KEY]
    assert [note.reason for note in decision.events] == ["Prewarm"]
    assert "of the pauses as long as this one end within the next" in decision.events[0].message


def test_a_call_that_nobody_waits_for_any_more_starts_nothing():
    assert fate(asleep(20.0), remembered(called_s=20.0)) == (0, "Steady")


def test_between_its_windows_it_sleeps():
    assert fate(asleep(600.0), remembered(called_s=600.0)) == (0, "Steady")
    assert fate(asleep(4000.0), remembered(called_s=4000.0)) == (0, "Steady"), "who did not come in time is not waited for"


@pytest.mark.parametrize(
    ("item", "changes"),
    [
        (asleep(1705.0, deployment(SMALL, scaling=ScalingSpec(idle_after_s=300.0), objectives=AUTO.objectives)), {}),
        (replace(asleep(1705.0), last_arrival_at_s=None), {}),
        (asleep(1705.0), {"metrics": Unknown("SourceDown")}),
        (asleep(1705.0, replace(AUTO, budget=BudgetSpec(Decimal("0.01"), Period.DAY))), {}),
    ],
    ids=["sleep is set by hand", "no gateway reports", "no metrics", "no money"],
)
def test_nothing_is_loaded_ahead_on_what_is_not_known_or_not_wanted(item, changes):
    assert fate(item, remembered(called_s=1705.0), **changes)[0] == 0


def test_a_start_ahead_of_a_call_is_not_given_up_half_way():
    starting = pod("a", ready_at_s=None, age_s=30.0)
    item = state(AUTO, {"small": variant_state(starting)}, demand=(demand(0.0),), last_arrival_at_s=NOW - 600.0)
    memory = remembered()
    memory = replace(memory, variants={"small": VariantMemory(work_at_s=NOW - 600.0, start_at_s=NOW - 30.0)})
    assert fate(item, memory) == (1, "Prewarm")
    late = replace(memory, variants={"small": VariantMemory(work_at_s=NOW - 600.0, start_at_s=NOW - 77.0)})
    assert fate(item, late) == (0, "Idle")


def test_loaded_ahead_it_waits_for_the_call_and_leaves_when_that_does_not_come():
    ready = pod("a", age_s=120.0)
    made = []
    for called_s in (1750.0, 1850.0, 2200.0):
        item = state(AUTO, {"small": variant_state(ready)}, demand=(demand(0.0),), last_arrival_at_s=NOW - called_s)
        made.append(fate(item, remembered(called_s=called_s)))
    assert made == [(1, "IdleSoon"), (1, "IdleSoon"), (0, "Idle")]


def test_an_answer_that_waits_for_a_start_costs_ten_starts_unless_said_otherwise():
    spec = deployment(SMALL, scaling=ScalingSpec())
    for idle_s, expected in ((600.0, 1), (700.0, 0)):
        item = state(spec, {"small": variant_state(pod("a"))}, demand=(demand(0.0),), last_arrival_at_s=NOW - idle_s)
        assert fate(item, remembered((), called_s=idle_s))[0] == expected, "kept for a start and ten: 660 s"


def test_explain_tells_the_programme():
    made = decide(world(asleep(600.0), memory=Memory({KEY: remembered()})), NOW).deployments[KEY]
    told, age_s = next((text, age_s) for name, text, age_s in made.explanation.inputs if name == "sleep[small]")
    assert told.startswith("23 pauses known; loaded until 30 s after a call, and from 16")
    assert age_s == 600.0


def test_explain_says_that_a_broken_promise_makes_cold_starts_dear():
    memory = replace(remembered(), attained=Attained(1000.0, 400.0, 0.0, 4.2))
    said = []
    for objectives in (Objectives(), AUTO.objectives):
        made = decide(world(asleep(600.0, replace(AUTO, objectives=objectives)), memory=Memory({KEY: memory})), NOW).deployments[KEY]
        said.append(next(text for name, text, _ in made.explanation.inputs if name == "sleep[small]"))
    assert said[0].endswith("; a cold start counts 16 times, since the promise is missed")
    assert "counts" not in said[1], "somebody has set what a late answer costs"


def test_short_of_money_no_cold_start_is_dear_for_the_promises_sake():
    budget = BudgetSpec(Decimal(5), Period.DAY, "UTC", Rung.DEGRADE)
    memory = replace(remembered((), called_s=3000.0), attained=Attained(1000.0, 100.0, 0.0, 6.0))
    kept = []
    for spec in (deployment(SMALL, scaling=ScalingSpec()), deployment(SMALL, scaling=ScalingSpec(), budget=budget)):
        item = state(spec, {"small": variant_state(pod("a"))}, demand=(demand(0.0),), last_arrival_at_s=NOW - 3000.0)
        kept.append(fate(item, memory))
    assert kept == [(1, "IdleSoon"), (0, "Idle")]


@pytest.mark.parametrize(("ready_s", "dear"), [(60.0, True), (3600.0, False)], ids=["after a start", "of a loaded model"])
def test_what_is_missing_makes_a_cold_start_dear_only_where_one_is_to_blame(ready_s, dear):
    spec, memory = deployment(SMALL, scaling=ScalingSpec()), remembered(called_s=5.0, attained=Attained(0.0, 0.0, 0.0, at_s=NOW - 15.0))
    loaded = variant_state(pod("a", ready_at_s=NOW - ready_s))
    item = state(spec, {"small": loaded}, demand=(demand(1.0),), last_arrival_at_s=NOW - 5.0, outcomes=Known(Outcomes(400.0, 0.0), NOW))
    made = decide(world(item, memory=Memory({KEY: memory})), NOW).memory
    assert (made.deployments[KEY].attained.dear > 2.0) is dear
    assert Memory.from_json({KEY: made.to_json(KEY)}).deployments[KEY].attained == made.deployments[KEY].attained


def test_a_model_that_cannot_start_makes_no_cold_start_dear():
    memory = remembered(called_s=5.0, attained=Attained(0.0, 0.0, 0.0, at_s=NOW - 15.0))
    memory = replace(memory, variants={"small": VariantMemory(failed_starts=3, parked_until_s=NOW + 600.0)})
    item = asleep(5.0, deployment(SMALL, scaling=ScalingSpec()), outcomes=Known(Outcomes(400.0, 0.0), NOW))
    assert decide(world(item, memory=Memory({KEY: memory})), NOW).memory.deployments[KEY].attained.dear == 0.0


def test_what_older_checkpoints_tell_of_the_promise_is_read():
    told = json.loads(Memory({KEY: remembered(attained=Attained(9.0, 8.0, 0.5, 2.5, 0.75, NOW))}).to_json(KEY))
    assert told["attained"] == [9.0, 8.0, 0.5], "an operator from before reads three"
    old = {name: value for name, value in told.items() if name != "cold"}
    read = Memory.from_json({KEY: json.dumps(old)}).deployments[KEY].attained
    assert read == Attained(9.0, 8.0, 0.5)
    later = attainment.updated(read, Known(Outcomes(10.0, 9.0), NOW), 0.95, settled=False)
    assert later.dear == pytest.approx(0.0, abs=0.01), "nobody knows how long ago that was"


def test_a_chain_is_learned_and_its_next_model_is_loaded_when_the_first_is_called():
    first, own = Key(KEY.namespace, "planner"), AUTO
    states = {
        first: state(deployment(SMALL, key=first), {"small": variant_state()}, last_arrival_at_s=NOW - 99.0),
        KEY: state(own, {"small": variant_state()}, last_arrival_at_s=NOW - 9.0),
    }
    memory, at = Memory(), NOW
    for turn in range(6):
        begin = NOW + turn * 3600.0
        for at in (begin, begin + 30.0, begin + 120.0, begin + 900.0):
            planner_s, own_s = (begin if at >= begin else begin - 3600.0), (begin + 100.0 if at >= begin + 100.0 else begin - 3500.0)
            seen = (replace(states[first], last_arrival_at_s=planner_s), replace(states[KEY], last_arrival_at_s=own_s))
            decision = decide(replace(world(*seen, now=at, memory=memory), metrics=Known(None, at)), at)
            memory = decision.memory
            made = decision.deployments[KEY].replicas[0]
            if at == begin + 30.0:
                assert (made.reason == "Prewarm") == (turn > 3), (turn, made)
                assert ("planner was called, which" in made.message) == (turn > 3)
    again = Memory.from_json({key: memory.to_json(key) for key in memory.deployments})
    assert again.deployments[KEY].callers == memory.deployments[KEY].callers != ()


def test_held_requests_wake_as_ever():
    assert fate(asleep(600.0, held=(held("small", 1),)), remembered()) == (1, "Wake")
