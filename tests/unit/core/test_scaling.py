"""Replicas: up at once, down late, to zero when idle by every account, never down on missing data."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from core_worlds import CURVE, KEY, LARGE, NOW, SMALL, blind, demand, deployment, held, pod, state, variant_state, world

from jevons.core.decide import decide
from jevons.core.memory import DeploymentMemory, Memory, Trend, VariantMemory
from jevons.core.observed import Known, Unknown
from jevons.core.snapshot import PodSignals
from jevons.core.spec import Key, RequestClass, ScalingMode, ScalingSpec

ONE = deployment(SMALL)
WORKED = Memory({KEY: DeploymentMemory({"small": VariantMemory(work_at_s=NOW - 400.0), "large": VariantMemory(work_at_s=NOW - 400.0)})})
"""Idle for longer than the 300 s that these deployments allow."""


def desired(snapshot, now=NOW, key=KEY):
    return {target.variant: target.desired for target in decide(snapshot, now).deployments[key].replicas}


def reason(snapshot, variant, now=NOW):
    return next(target.reason for target in decide(snapshot, now).deployments[KEY].replicas if target.variant == variant)


def condition(snapshot, kind, now=NOW):
    found = next(item for item in decide(snapshot, now).deployments[KEY].conditions if item.type == kind)
    return found.status, found.reason


def passes(snapshot, seconds, step_s=15.0, evolve=None):
    """Repeat passes, with memory and ledger carried over and readings kept fresh; yields (now, desired)."""
    now, out = NOW, []
    while now <= NOW + seconds:
        fresh = evolve(snapshot, now) if evolve is not None else snapshot
        decision = decide(replace(fresh, metrics=Known(None, now)), now)
        out.append((now - NOW, {t.variant: t.desired for t in decision.deployments[KEY].replicas}))
        snapshot = replace(snapshot, memory=decision.memory, ledger=decision.ledger)
        now += step_s
    return out


def test_more_arrivals_than_one_replica_serves_raise_replicas_at_once():
    snapshot = world(state(ONE, {"small": variant_state(pod("a", running=20.0))}, demand=(demand(14.0),)))
    assert desired(snapshot)["small"] == 3  # 14 / 7.6 = 1.84 replicas of work, and room for the 95th percentile


def test_traffic_that_bypasses_the_gateway_counts():
    snapshot = world(state(ONE, {"small": variant_state(pod("a", running=90.0, waiting=60.0))}, demand=(demand(0.0),)))
    assert desired(snapshot)["small"] >= 2


def test_a_queue_raises_replicas_in_the_same_pass():
    quiet = world(state(ONE, {"small": variant_state(pod("a", running=40.0))}, demand=(demand(3.5),)))
    queued = world(state(ONE, {"small": variant_state(pod("a", running=90.0, waiting=300.0))}, demand=(demand(3.5),)))
    assert desired(quiet)["small"] == 1
    assert desired(queued)["small"] >= 2


def test_a_queue_that_is_soon_worked_off_raises_nothing():
    short = world(state(ONE, {"small": variant_state(pod("a", running=90.0, waiting=20.0))}, demand=(demand(3.5),)))
    assert desired(short)["small"] == 1


def test_a_longer_queue_never_asks_for_fewer_and_ever_less_for_each_more():
    made = [
        desired(world(state(ONE, {"small": variant_state(pod("a", running=90.0, waiting=waiting))}, demand=(demand(7.0),))))["small"]
        for waiting in (0.0, 100.0, 400.0, 1600.0, 6400.0)
    ]
    assert made == sorted(made)
    assert made[-1] <= 10


def test_held_requests_wake_the_variant_they_wait_for_and_no_other():
    snapshot = world(state(deployment(), {"large": variant_state(), "small": variant_state()}, held=(held("small", 3),)))
    assert desired(snapshot) == {"large": 0, "small": 1}
    assert reason(snapshot, "small") == "Wake"


def test_held_requests_wake_a_model_while_metrics_are_down():
    snapshot = world(state(ONE, {"small": variant_state()}, held=(held("small", 1),)), metrics=Unknown("SourceDown"))
    assert desired(snapshot)["small"] == 1


def test_a_model_without_work_and_with_a_quiet_gpu_sleeps_after_idle_after():
    snapshot = world(state(ONE, {"small": variant_state(pod("a"))}, demand=(demand(0.0),), last_arrival_at_s=NOW - 400.0), memory=WORKED)
    assert desired(snapshot)["small"] == 0
    assert reason(snapshot, "small") == "Idle"


@pytest.mark.parametrize(
    "busy", [pod("a", util=0.5), pod("a", signals=replace(pod("a").signals, gpu_util=Unknown("NoData")))], ids=["busy", "unknown"]
)
def test_a_gpu_that_is_busy_or_unseen_keeps_a_model_awake(busy):
    snapshot = world(state(ONE, {"small": variant_state(busy)}, demand=(demand(0.0),), last_arrival_at_s=NOW - 400.0), memory=WORKED)
    assert desired(snapshot)["small"] == 1


def test_a_busy_gpu_without_work_of_ours_keeps_its_replica_and_only_that():
    def left(*pods):
        needs = Memory({KEY: DeploymentMemory({"small": VariantMemory(needs=((NOW - 3000.0, 1),), work_at_s=NOW)})})
        return desired(world(state(ONE, {"small": variant_state(*pods)}, demand=(demand(1.0),), last_arrival_at_s=NOW), memory=needs))["small"]

    ours, idle = pod("a", running=3.0, util=0.9), pod("b")
    served = pod("c", util=0.9, signals=replace(pod("c", util=0.9).signals, generation_tokens_per_s=Known(50.0, NOW)))
    assert left(ours, idle, pod("c")) == 1
    assert left(ours, idle, served) == 1, "it has just served"
    assert left(ours, idle, pod("c", util=0.9)) == 2
    assert left(ours, pod("b", util=0.9), pod("c", util=0.9)) == 3


def test_a_model_that_may_not_sleep_keeps_its_minimum():
    spec = deployment(replace(SMALL, min_replicas=1))
    snapshot = world(state(spec, {"small": variant_state(pod("a"))}, last_arrival_at_s=NOW - 9000.0), memory=WORKED)
    assert desired(snapshot)["small"] == 1


def test_no_data_is_never_zero():
    for lost in (world(metrics=Unknown("SourceDown")), world(metrics=Known(None, NOW - 300.0)), world(started_at_s=NOW - 60.0)):
        item = state(ONE, {"small": variant_state(blind("a"), blind("b"), blind("c"))}, demand=(demand(0.0),), last_arrival_at_s=NOW - 9000.0)
        snapshot = replace(world(item, memory=WORKED), metrics=lost.metrics, started_at_s=lost.started_at_s)
        assert desired(snapshot)["small"] == 3


@pytest.mark.parametrize(
    ("created_s", "left"),
    [((-3600.0,), 1), ((-61.0,), 1), ((-61.0, -30.0), 2), ((-59.0,), 0), ((-59.0, -30.0), 0), ((), 1)],
    ids=["long before", "just before", "one of two", "after", "both after", "not seen yet"],
)
def test_a_restart_protects_what_was_inherited_and_not_what_this_operator_started(created_s, left):
    pods = [replace(pod(f"p{since}"), created_at_s=NOW + since, ready_at_s=NOW - 9000.0) for since in created_s]
    item = state(ONE, {"small": variant_state(*pods, replicas=len(pods) or 1)}, demand=(demand(0.0),), last_arrival_at_s=NOW - 9000.0)
    assert desired(world(item, memory=WORKED, started_at_s=NOW - 60.0))["small"] == left
    assert desired(world(item, memory=WORKED, started_at_s=NOW - 181.0))["small"] == 0


def test_what_one_deployment_inherited_does_not_hold_another():
    idle = {"demand": (demand(0.0),), "last_arrival_at_s": NOW - 9000.0}
    new = replace(pod("new"), created_at_s=NOW - 30.0, ready_at_s=NOW - 9000.0)
    other = Key("team-a", "zoo")
    states = (state(ONE, {"small": variant_state(pod("old"))}, **idle), state(deployment(SMALL, key=other), {"small": variant_state(new)}, **idle))
    memory = Memory({KEY: WORKED.deployments[KEY], other: WORKED.deployments[KEY]})
    made = decide(world(*states, memory=memory, started_at_s=NOW - 60.0), NOW).deployments
    assert (made[KEY].replicas[0].desired, made[KEY].replicas[0].reason) == (1, "JustStarted")
    assert made[other].replicas[0].desired == 0


def test_unseen_ready_pods_count_as_fully_used():
    item = state(ONE, {"small": variant_state(pod("a", running=1.0), blind("b"), blind("c"))}, demand=(demand(1.0),))
    needs = Memory({KEY: DeploymentMemory({"small": VariantMemory(needs=((NOW - 500.0, 1),), work_at_s=NOW)})})
    assert desired(world(item, memory=needs))["small"] == 3
    assert condition(world(item), "MetricsAvailable") == ("False", "PodsUnseen")


def test_readings_that_lie_are_no_readings():
    for value in (float("nan"), float("inf"), -1.0):
        signals = PodSignals(running=Known(value, NOW), waiting=Known(value, NOW), gpu_util=Known(value, NOW))
        item = state(ONE, {"small": variant_state(pod("a", signals=signals), pod("b", signals=signals))}, demand=(demand(value),))
        assert desired(world(item, memory=WORKED))["small"] == 2


def test_after_an_outage_nothing_goes_down_for_five_minutes():
    item = state(ONE, {"small": variant_state(pod("a"), pod("b"))}, demand=(demand(0.0),), last_arrival_at_s=NOW - 9000.0)
    assert desired(world(item, memory=WORKED, metrics_back_since_s=NOW - 299.0))["small"] == 2
    assert desired(world(item, memory=WORKED, metrics_back_since_s=NOW - 301.0))["small"] == 0


def test_the_fallback_gives_the_agreed_replicas_when_metrics_stay_away():
    spec = deployment(SMALL, scaling=ScalingSpec(fallback_after_s=300.0, fallback_replicas=2))
    item = state(spec, {"small": variant_state(blind("a"))})
    gone = {"metrics": Unknown("SourceDown")}
    assert desired(world(item, metrics_down_since_s=NOW - 299.0, **gone))["small"] == 1
    assert desired(world(item, metrics_down_since_s=NOW - 300.0, **gone))["small"] == 2


UNMEASURED = replace(SMALL, profile=None, max_replicas=100)


def after_an_hour(before, then, *, running, classes=()):
    """What a variant without a profile is given in the two minutes after an hour of `before` (arrivals by class), 8 pods at `running` together."""
    memory, found = Memory(), []
    for step in range(248):
        now, rates = NOW + 15.0 * step, before if step < 240 else then
        pods = [pod(f"p{index}", now, running=(40.0 if step < 240 else running) / 8.0, util=0.5) for index in range(8)]
        asked = tuple(demand(rate, now, name) for name, rate in rates.items())
        item = state(deployment(UNMEASURED, classes=classes), {"small": variant_state(*pods)}, demand=asked, last_arrival_at_s=now - 1.0)
        decision = decide(world(item, now=now, memory=memory), now)
        memory = decision.memory
        found.append(decision.deployments[KEY].replicas[0].desired)
    return found[240:]


def test_less_traffic_orders_nothing_where_no_profile_is_known():
    """What still runs outlasts its arrivals: over the one a minute that still comes it was sixty replicas."""
    assert max(after_an_hour({"default": 10.0}, {"default": 1 / 60}, running=2.0)) <= 8


def test_a_class_that_nearly_vanishes_says_nothing_about_what_runs_of_another():
    classes = (RequestClass("rare"),)
    given = after_an_hour({"rare": 1.0, "default": 50.0}, {"rare": 1 / 60, "default": 50.0}, running=40.0, classes=classes)
    assert max(given) <= 8


@pytest.mark.parametrize("value", [1e12, 1e15, 1e200, 1e300])
@pytest.mark.parametrize("where", ["arrivals_per_s", "input_tokens", "output_tokens", "running", "waiting", "gpu_util"])
@pytest.mark.parametrize("profile", [SMALL.profile, None])
def test_a_reading_that_nothing_here_can_be_is_no_reading(profile, where, value):
    spec = deployment(replace(SMALL, profile=profile))
    pods, asked = [pod("a", running=3.0, util=0.5), pod("b", running=3.0, util=0.5)], demand(1.0)
    odd = Known(value, NOW)
    if hasattr(asked, where):
        asked = replace(asked, **{where: odd})
    else:
        pods[0] = replace(pods[0], signals=replace(pods[0].signals, **{where: odd}))
    decision = decide(world(state(spec, {"small": variant_state(*pods)}, demand=(asked,))), NOW)
    target = decision.deployments[KEY].replicas[0]
    assert (target.reason != "InternalError", target.desired) == (True, 2)
    after = decide(
        world(state(ONE, {"small": variant_state(pod("a", NOW + 15.0))}, demand=(demand(1.0, NOW + 15.0),)), memory=decision.memory), NOW + 15.0
    )
    assert after.deployments[KEY].reason != "InternalError"


def test_utilisation_alone_changes_the_decision_where_no_queue_is_exposed():
    hidden = {"running": Unknown("NotExposed"), "waiting": Unknown("NotExposed")}
    results = []
    for util in (0.70, 0.95):
        pods = [pod(name, signals=PodSignals(**hidden, gpu_util=Known(util, NOW))) for name in "ab"]
        results.append(desired(world(state(ONE, {"small": variant_state(*pods)})))["small"])
    assert results == [2, 3]


def test_fewer_requests_lower_replicas_only_after_the_window():
    pods = [pod(name, running=2.0) for name in "abc"]
    snapshot = world(state(ONE, {"small": variant_state(*pods)}, demand=(demand(1.0),), last_arrival_at_s=NOW))

    def fresh(snapshot, now):
        item = state(
            ONE, {"small": variant_state(*[pod(name, now, running=2.0) for name in "abc"])}, demand=(demand(1.0, now),), last_arrival_at_s=now
        )
        return replace(snapshot, deployments={KEY: item})

    seen = passes(snapshot, 200.0, evolve=fresh)
    assert all(what["small"] == 3 for at, what in seen if at < 105.0)
    assert seen[-1][1]["small"] == 1


def test_unschedulable_pods_are_reported_and_not_ordered_again():
    waiting = pod("b", scheduled_at_s=None, ready_at_s=None, node=None, unschedulable=True)
    item = state(ONE, {"small": variant_state(pod("a", running=60.0), waiting)}, demand=(demand(9.0),))
    assert desired(world(item))["small"] == 2
    assert condition(world(item), "CapacityAvailable") == ("False", "Unschedulable")


def test_a_start_that_keeps_failing_is_parked_and_tried_again_later():
    crashing = pod("a", ready_at_s=None, failed=True)
    snapshot = world(state(ONE, {"small": variant_state(crashing)}, held=(held("small", 1),)))

    def fresh(snapshot, now):
        return snapshot

    seen = passes(snapshot, 600.0, evolve=fresh)
    parked = [at for at, what in seen if what["small"] == 0]
    assert parked
    assert 170.0 <= parked[0] <= 260.0
    late = replace(snapshot, memory=Memory({KEY: DeploymentMemory({"small": VariantMemory(failed_starts=3, parked_until_s=NOW + 30.0)})}))
    assert condition(late, "Ready") == ("False", "StartFailed")


def test_someone_elses_scaling_is_left_alone_for_ten_minutes():
    touched = variant_state(pod("a"), pod("b"), foreign_change_at_s=NOW - 60.0, foreign_changes=1, foreign_writer="kubectl")
    snapshot = world(state(ONE, {"small": touched}, demand=(demand(30.0),)))
    assert desired(snapshot)["small"] is None
    assert reason(snapshot, "small") == "ForeignScaling"
    assert condition(snapshot, "ScaleUncontested") == ("Unknown", "ForeignScaling")
    rival = variant_state(pod("a"), foreign_change_at_s=NOW - 700.0, foreign_changes=2)
    assert condition(world(state(ONE, {"small": rival})), "ScaleUncontested") == ("False", "ForeignScaling")


def test_recommend_says_what_it_would_do_and_touches_nothing():
    spec = deployment(SMALL, scaling=ScalingSpec(mode=ScalingMode.RECOMMEND))
    target = decide(world(state(spec, {"small": variant_state(pod("a"))}, demand=(demand(14.0),))), NOW).deployments[KEY].replicas[0]
    assert (target.desired, target.recommended, target.reason) == (None, 3, "Recommend")


def test_a_target_with_a_problem_stops_that_variant_alone():
    broken = variant_state(problem="ManagedByAutoscaler", message="an HPA scales it")
    snapshot = world(state(deployment(), {"large": broken, "small": variant_state(pod("s", running=30.0))}, demand=(demand(14.0),)))
    assert desired(snapshot)["large"] is None
    assert desired(snapshot)["small"] >= 2
    assert condition(snapshot, "ResolvedRefs") == ("False", "ManagedByAutoscaler")


@pytest.mark.parametrize("breakage", [{"startup_s": "soon"}, {"accelerator_count": None}, {"profile": "fast"}], ids=str)
def test_one_broken_deployment_never_stops_the_others(breakage):
    other = deployment(SMALL, key=replace(KEY, name="other"))
    broken = replace(deployment(LARGE), variants=(replace(LARGE, **breakage),))
    decision = decide(
        world(state(broken, {"large": variant_state(pod("a"))}), state(other, {"small": variant_state(pod("b"))}, demand=(demand(14.0),))), NOW
    )
    assert decision.deployments[KEY].reason == "InternalError"
    assert decision.deployments[KEY].replicas[0].desired is None
    assert decision.deployments[other.key].replicas[0].desired == 3


def test_more_replicas_than_max_go_even_when_nothing_is_known():
    spec = deployment(replace(SMALL, max_replicas=2))
    assert desired(world(state(spec, {"small": variant_state(*[blind(n) for n in "abc"])}), metrics=Unknown("SourceDown")))["small"] == 2


def test_the_same_snapshot_gives_the_same_decision():
    snapshot = world(state(deployment(), {"large": variant_state(pod("l")), "small": variant_state(pod("s"))}, demand=(demand(3.0),)), router=CURVE)
    assert decide(snapshot, NOW) == decide(snapshot, NOW)


def _after_a_burst(**changes):
    """2 requests/s until 400 s ago; the mean over the last minute lags behind and still says 0.5/s."""
    return world(state(ONE, {"small": variant_state(pod("a"))}, demand=(demand(0.5),), **changes), memory=WORKED)


def test_the_minutes_mean_does_not_keep_a_silent_model_awake():
    assert desired(_after_a_burst(last_arrival_at_s=NOW - 301.0)) == {"small": 0}


def test_a_model_with_a_recent_request_stays_awake():
    assert desired(_after_a_burst(last_arrival_at_s=NOW - 20.0)) == {"small": 1}


def test_without_word_from_a_gateway_the_mean_counts():
    assert desired(_after_a_burst()) == {"small": 1}


def _vanished(age_s, level=5.0, **changes):
    """Three replicas that a class asked for until `age_s` seconds ago; now nobody says anything of it."""
    trends = {"default": Trend(level, NOW - age_s)}
    memory = Memory({KEY: DeploymentMemory({"small": VariantMemory(needs=((NOW - 590.0, 0),), work_at_s=NOW - 400.0)}, trends)})
    return world(state(ONE, {"small": variant_state(*[pod(name) for name in "abc"])}, **changes), memory=memory)


@pytest.mark.parametrize("age_s", [1.0, 15.0, 299.0])
def test_a_class_that_nobody_reports_any_more_is_unknown_and_holds(age_s):
    snapshot = _vanished(age_s)
    assert desired(snapshot) == {"small": 3}
    assert reason(snapshot, "small") == "DemandNoData"
    assert condition(snapshot, "MetricsAvailable") == ("False", "DemandUnknown")


def test_a_vanished_class_is_forgotten_after_five_minutes():
    held_until = [at_s for at_s, wanted in passes(_vanished(0.0), 600.0, evolve=_read_again) if wanted == {"small": 3}]
    assert max(held_until) == 300.0
    assert passes(_vanished(0.0), 600.0, evolve=_read_again)[-1][1]["small"] < 3


def _read_again(snapshot, now):
    pods = variant_state(*[pod(name, now, age_s=9000.0) for name in "abc"])
    return replace(snapshot, deployments={KEY: replace(snapshot.deployments[KEY], variants={"small": pods})})


def test_a_class_that_a_reporting_gateway_leaves_out_is_a_known_zero():
    snapshot = _vanished(15.0, last_arrival_at_s=NOW - 400.0)
    assert condition(snapshot, "MetricsAvailable") == ("True", "MetricsAvailable")
    assert desired(snapshot)["small"] < 3


def test_a_class_that_was_at_rest_when_it_vanished_holds_nothing():
    assert desired(_vanished(15.0, level=0.0))["small"] < 3


def test_answers_that_cost_much_when_late_are_given_more_replicas_and_none_of_the_promise_is_sold():
    made = []
    for usd in (None, "0", "0.001", "0.01", "0.1", "1", "NaN"):
        objectives = replace(ONE.objectives, late_cost_usd=Decimal(usd) if usd is not None else None)
        spec = deployment(replace(SMALL, max_replicas=60), objectives=objectives)
        snapshot = world(state(spec, {"small": variant_state(*[pod(name, running=20.0) for name in "abc"])}, demand=(demand(120.0),)))
        made.append(desired(snapshot)["small"])
    assert made[1:-1] == sorted(made[1:-1])
    assert made[1] == made[0] == made[-1]
    assert made[-2] > made[0]
