"""What the peers do when they are called as the simulator calls them: scrapes, views, and the eleven known failures."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest

from jevons.simulator.policies import PEERS, Facts, Reading, Sample, Signal, View
from jevons.simulator.policies.aibrix import AibrixSettings, cooled
from jevons.simulator.policies.aibrix_apa import AibrixApa
from jevons.simulator.policies.aibrix_kpa import AibrixKpa
from jevons.simulator.policies.dynamo import Dynamo, DynamoSettings
from jevons.simulator.policies.hpa import Hpa, HpaSettings, Metric
from jevons.simulator.policies.keda import Keda, KedaSettings
from jevons.simulator.policies.keda_rules import Fallback
from jevons.simulator.policies.kpa import Kpa, KpaSettings
from jevons.simulator.policies.kubeai import Kubeai, KubeaiSettings
from jevons.simulator.policies.policy import Apart
from jevons.simulator.policies.wva import Analyser, Wva, WvaSettings
from jevons.simulator.policies.wva_cost import Offer, plan
from jevons.simulator.policies.wva_saturation import Standing, Thresholds, Verdict, targets, verdict
from jevons.simulator.policies.wva_tokens import Need, need


def pods(count: int, **values: int) -> tuple[Reading, ...]:
    return tuple(Reading(f"pod-{number}", **values) for number in range(count))


def at_share(count: int, share: float) -> tuple[Reading, ...]:
    return pods(count, kv_tokens=round(1000 * share), kv_capacity=1000)


# --- the eleven failures of the survey, and its reference ---


@pytest.mark.parametrize(("replicas", "wanted"), [(4, 2), (5, 2), (8, 4)])
def test_aibrix_kpa_shrinks_a_fleet_that_is_half_overloaded(replicas, wanted):
    scaler = AibrixKpa(AibrixSettings(target=0.5))
    scaler.observe(Sample(0.0, at_share(replicas, 0.75)))
    assert scaler.decide(0.0, View(replicas, ready=replicas)) == wanted


def test_aibrix_cooldown_takes_the_lowest_of_the_last_minutes():
    history = deque((float(60 * number), wish) for number, wish in enumerate((10, 10, 10, 4, 10)))
    assert cooled(history, 290.0, 10, 8, up_s=0.0, down_s=300.0) == 4


def apa_while_pods_load(*, pending_guard: bool) -> list[int]:
    scaler, replicas, seen = AibrixApa(AibrixSettings(target=0.4, pending_guard=pending_guard)), 2, []
    for tick in range(5):
        scaler.observe(Sample(10.0 * tick, at_share(2, 0.8)))
        replicas = scaler.decide(10.0 * tick, View(replicas, ready=2, starting=replicas - 2))
        seen.append(replicas)
    return seen


def test_aibrix_apa_doubled_while_pods_loaded_before_its_guard_and_stops_at_need_with_it():
    assert apa_while_pods_load(pending_guard=False) == [4, 8, 16, 32, 64]
    assert apa_while_pods_load(pending_guard=True) == [4, 4, 4, 4, 4]


def test_wva_buys_a_large_replica_for_a_small_remainder():
    offers = {"big": Offer(10, 100, 0), "small": Offer(4, 30, 0)}
    assert plan(offers, Need(30, 0)) == {"big": 1, "small": 0}
    assert plan(offers, Need(120, 0)) == {"big": 2, "small": 0}


def test_wva_never_swaps_a_large_replica_for_a_small_one_at_low_load():
    wanted = need(20, supply=100, anticipated=100)
    assert wanted.spare == pytest.approx(71.43, abs=0.01)
    assert plan({"big": Offer(10, 100, 1), "small": Offer(4, 30, 0)}, wanted) == {"big": 1, "small": 0}


def test_wva_counts_a_replica_that_never_starts_as_supply_for_ever():
    fleet = Wva(WvaSettings(minimum=1), {"only": Facts()})
    busy = Sample(0.0, pods(1, kv_tokens=1600, kv_capacity=1000))
    wanted = []
    for tick in range(200):
        fleet.observe({"only": replace(busy, at_s=15.0 * tick)})
        wanted.append(fleet.decide(15.0 * tick, {"only": View(4, ready=1, pending=3)})["only"])
    assert set(wanted) == {4}


def test_wva_v1_freezes_the_whole_model_while_one_variant_is_pending():
    variants = {"dear": Standing(20, 2, desired=3, reporting=2, pending=1), "cheap": Standing(5, 1, reporting=1)}
    assert targets(variants, Verdict(up=True, safe=False)) == {"dear": 3, "cheap": 1}


def test_wva_v1_does_not_see_a_hot_spot_and_thinks_it_safe_to_remove_a_pod():
    assert verdict([(0.95, 40), (0.3, 0), (0.3, 0)], Thresholds()) == Verdict(up=False, safe=True)


def test_keda_takes_a_busy_model_to_zero_when_its_metric_vanishes_and_not_when_the_query_fails():
    def after(minutes: int, broken: Sample) -> int:
        keda, replicas = Keda(KedaSettings(keep_alive=False)), 3
        for tick in range(4 * minutes):
            now = 15.0 * tick
            keda.observe(replace(broken, at_s=now) if tick else Sample(now, pods(3, waiting=5)))
            replicas = keda.decide(now, View(replicas, ready=replicas))
        return replicas

    assert after(12, Sample(0.0)) == 0
    assert after(12, Sample(0.0, failed=True)) == 3


def test_kubeai_has_its_fourth_replica_after_460_seconds():
    scaler, replicas, reached = Kubeai(KubeaiSettings()), 1, {}
    for tick in range(1, 61):
        scaler.observe(Sample(10.0 * tick, pods(1, running=400)))
        replicas = scaler.decide(10.0 * tick, View(replicas, ready=replicas))
        reached.setdefault(replicas, 10 * tick)
    assert (reached[2], reached[3], reached[4]) == (160, 310, 460)


def test_hpa_ramps_to_twenty_in_thirty_seconds():
    hpa, replicas, seen = Hpa(HpaSettings(metric=Metric.AVERAGE, maximum=20)), 1, []
    for now in (0.0, 15.0, 30.0):
        hpa.observe(Sample(now, pods(1, waiting=100)))
        replicas = hpa.decide(now, View(replicas, ready=replicas))
        seen.append(replicas)
    assert seen == [5, 10, 20]


# --- what each sees, and what it makes of not seeing ---


def test_hpa_keeps_what_runs_when_its_metric_is_missing_stale_or_in_error():
    for metric in Metric:
        hpa = Hpa(HpaSettings(metric=metric))
        assert hpa.decide(0.0, View(3, ready=3)) == 3
        hpa.observe(Sample(0.0, failed=True))
        assert hpa.decide(15.0, View(3, ready=3)) == 3
        hpa.observe(Sample(15.0, pods(3, waiting=50)))
        assert hpa.decide(400.0, View(3, ready=3)) == 3


def test_hpa_with_one_metric_in_error_may_grow_and_not_shrink():
    hpa = Hpa(HpaSettings())
    assert hpa.follow(0.0, 4, [2, None]) == 4
    assert hpa.follow(15.0, 4, [6, None]) == 6


def test_hpa_at_zero_with_a_minimum_is_switched_off_and_outside_its_bounds_goes_to_them():
    hpa = Hpa(HpaSettings(minimum=2, maximum=5))
    assert hpa.decide(0.0, View(0, ready=0)) == 0
    assert hpa.decide(0.0, View(1, ready=1)) == 2
    assert hpa.decide(0.0, View(9, ready=9)) == 5


def test_hpa_may_not_have_a_minimum_of_zero_on_a_metric_of_pods():
    with pytest.raises(ValueError, match="External"):
        HpaSettings(minimum=0)


def test_keda_with_a_fallback_answers_the_fourth_failure_with_it():
    keda, wanted = Keda(KedaSettings(minimum=1, keep_alive=False, polling_s=15.0, fallback=Fallback(10))), []
    for tick in range(5):
        keda.observe(Sample(15.0 * tick, failed=True))
        wanted.append(keda.decide(15.0 * tick, View(6, ready=6)))
    assert wanted == [6, 6, 6, 10, 10]


def test_keda_that_minds_nulls_takes_them_for_errors():
    keda = Keda(KedaSettings(ignore_null=False, keep_alive=False))
    for tick in range(100):
        keda.observe(Sample(15.0 * tick))
        assert keda.decide(15.0 * tick, View(3, ready=3)) == 3


def test_keda_wakes_at_a_poll_while_requests_arrive_at_the_router():
    keda = Keda(KedaSettings())
    keda.observe(Sample(0.0))
    assert keda.decide(0.0, View(0, ready=0)) == 0
    assert keda.wake(1.0, View(0, ready=0)) == 0
    keda.observe(Sample(15.0, arrivals=1))
    assert keda.decide(15.0, View(0, ready=0)) == 0
    keda.observe(Sample(30.0, arrivals=1))
    assert keda.decide(30.0, View(0, ready=0)) == 1


def kpa_after_silence(settings: KpaSettings, seconds: int) -> list[int]:
    kpa, replicas, seen = Kpa(settings), 1, []
    for second in range(seconds):
        quiet = second >= 100
        kpa.observe(Sample(float(second), pods(min(1, replicas), running=0 if quiet else 5)))
        if second % 2 == 0:
            replicas = kpa.decide(float(second), View(replicas, ready=replicas))
            seen.append(replicas)
    return seen


def test_knative_goes_to_zero_a_stable_window_and_a_grace_period_after_the_last_request():
    seen = kpa_after_silence(KpaSettings(), 240)
    assert seen[:95] == [1] * 95
    assert 2 * seen.index(0) == pytest.approx(100 + 60 + 30, abs=4)


def test_knative_told_not_to_go_to_zero_keeps_one():
    assert set(kpa_after_silence(KpaSettings(scale_to_zero=False), 240)) == {1}


def test_knative_wakes_at_once_for_a_held_request_and_holds_on_while_the_pod_loads():
    kpa = Kpa(KpaSettings())
    kpa.observe(Sample(0.0))
    assert kpa.decide(0.0, View(0, ready=0)) == 0
    kpa.observe(Sample(1.0, held=1))
    assert kpa.wake(1.0, View(0, ready=0)) == 1
    for second in range(2, 500, 2):
        kpa.observe(Sample(float(second)))
        assert kpa.decide(float(second), View(1, ready=0, starting=1)) == 1
    for second in range(500, 640, 2):
        kpa.observe(Sample(float(second)))
        wanted = kpa.decide(float(second), View(1, ready=0, starting=1))
    assert wanted == 0


def test_knative_without_data_does_not_decide():
    kpa = Kpa(KpaSettings())
    for second in range(0, 200, 2):
        kpa.observe(Sample(float(second), failed=True))
        assert kpa.decide(float(second), View(7, ready=7)) == 7


def test_knative_starts_in_panic_and_keeps_several_replicas_for_a_stable_window():
    kpa = Kpa(KpaSettings())
    wanted = {}
    for second in range(0, 80, 2):
        kpa.observe(Sample(float(second), pods(8, running=1)))
        wanted[second] = kpa.decide(float(second), View(8, ready=8))
    assert wanted[58] == 8
    assert wanted[70] == 4


def test_dynamo_steps_by_one_and_looks_on_while_a_change_is_under_way():
    planner = Dynamo(DynamoSettings())
    planner.observe(Sample(0.0, (*at_share(2, 0.1), Reading("hot", kv_tokens=1000, kv_capacity=1000, queued_tokens=1))))
    assert planner.decide(0.0, View(3, ready=3)) == 4
    assert planner.decide(5.0, View(4, ready=3, starting=1)) == 4
    assert planner.decide(3600.0, View(4, ready=3, pending=1)) == 4
    planner.observe(Sample(3605.0, at_share(4, 0.59)))
    assert planner.decide(3605.0, View(4, ready=4)) == 3
    planner.observe(Sample(3610.0, at_share(1, 0.0)))
    assert planner.decide(3610.0, View(1, ready=1)) == 1


def test_dynamo_does_not_go_beyond_its_gpus():
    planner = Dynamo(DynamoSettings(gpus_per_replica=4))
    planner.observe(Sample(0.0, at_share(2, 1.5)))
    assert planner.decide(0.0, View(2, ready=2)) == 2


def test_kubeai_starts_the_first_replica_at_an_arrival_and_needs_three_earlier_ticks_to_shrink():
    scaler = Kubeai(KubeaiSettings(window_s=10.0))
    assert scaler.wake(0.0, View(0, ready=0)) == 1
    scaler.observe(Sample(0.0, pods(2)))
    assert [scaler.decide(10.0 * tick, View(2, ready=2)) for tick in range(4)] == [2, 2, 2, 0]


def test_kubeai_leaves_out_ticks_in_which_its_proxies_do_not_answer():
    scaler = Kubeai(KubeaiSettings(window_s=10.0, down_delay_s=0.0))
    assert scaler.decide(0.0, View(2, ready=2)) == 2
    scaler.observe(Sample(10.0, failed=True))
    assert scaler.decide(10.0, View(2, ready=2)) == 2
    scaler.observe(Sample(20.0, pods(2)))
    assert scaler.decide(20.0, View(2, ready=2)) == 0


def wva_at(load: int, *, analyser: Analyser = Analyser.V2, ticks: int = 40) -> dict[str, int]:
    fleet = Wva(WvaSettings(analyser=analyser, minimum=1), {"cheap": Facts(cost=5), "dear": Facts(cost=15)})
    wanted = {"cheap": 2, "dear": 2}
    for tick in range(ticks):
        now = 15.0 * tick
        samples = {
            name: Sample(now, tuple(Reading(f"{name}-{n}", running=4, kv_tokens=load, kv_capacity=1000) for n in range(count)))
            for name, count in wanted.items()
        }
        fleet.observe(samples)
        wanted = fleet.decide(now, {name: View(count, ready=count) for name, count in wanted.items()})
    return wanted


def test_wva_grows_on_the_cheap_variant_and_shrinks_the_dear_one():
    for analyser in Analyser:
        assert wva_at(790, analyser=analyser, ticks=3)["cheap"] > 2
        assert wva_at(790, analyser=analyser, ticks=3)["dear"] == 2
        low = wva_at(50, analyser=analyser)
        assert low["dear"] == 1


def test_wva_goes_to_zero_only_where_asked_and_wakes_every_variant():
    variants = {"a": Facts(), "b": Facts()}
    for asked, wanted in ((False, {1}), (True, {0})):
        fleet = Wva(WvaSettings(scale_to_zero=asked, minimum=0 if asked else 1), variants)
        counts = {"a": 1, "b": 1}
        for tick in range(80):
            idle = {name: Sample(15.0 * tick, tuple(Reading(f"{name}-{n}", kv_capacity=1000) for n in range(counts[name]))) for name in variants}
            fleet.observe(idle)
            counts = fleet.decide(15.0 * tick, {name: View(count, ready=count) for name, count in counts.items()})
        assert set(counts.values()) == wanted
    assert fleet.wake(1300.0, {"a": View(0, ready=0), "b": View(0, ready=0)}) == {"a": 1, "b": 1}


def test_wva_grows_for_what_waits_in_front_of_the_pods():
    wanted = {}
    for held in (0, 20):
        fleet = Wva(WvaSettings(), {"only": Facts()})
        for tick in range(3):
            answered = {"completed": 10 * tick, "prompt_tokens": 1000 * tick, "output_tokens": 500 * tick}
            pod = Reading("pod", kv_tokens=400, kv_capacity=1000)
            fleet.observe({"only": Sample(15.0 * tick, (pod,), held=held, held_tokens=100 * held, **answered)})
            wanted[held] = fleet.decide(15.0 * tick, {"only": View(1, ready=1)})["only"]
    assert wanted == {0: 1, 20: 5}


@pytest.mark.parametrize(("known", "grown"), [(False, "dear"), (True, "cheap")])
def test_wva_takes_a_variant_without_replicas_for_free(known, grown):
    """Once seen and now asleep, the dear variant ranks first, because its cost is read from live pods alone."""
    fleet = Wva(WvaSettings(minimum=0, sleeping_cost_known=known), {"cheap": Facts(cost=5), "dear": Facts(cost=50)})
    idle, busy = Reading("pod", kv_tokens=550, kv_capacity=1000), Reading("pod", kv_tokens=900, kv_capacity=1000)
    fleet.observe({"cheap": Sample(0.0, (idle,)), "dear": Sample(0.0, (idle,))})
    fleet.decide(0.0, {"cheap": View(1, ready=1), "dear": View(1, ready=1)})
    for now in (15.0, 30.0, 45.0):
        fleet.observe({"cheap": Sample(now, (busy,)), "dear": Sample(now)})
        wanted = fleet.decide(now, {"cheap": View(1, ready=1), "dear": View(0, ready=0)})
    before = {"cheap": 1, "dear": 0}
    assert {name for name in wanted if wanted[name] > before[name]} == {grown}


def test_a_leaving_pod_counts_in_a_sum_and_not_in_a_mean_over_pods():
    sample = Sample(0.0, (Reading("stays", waiting=5), Reading("leaves", waiting=50, leaving=True)))
    assert sample.total(Signal.WAITING, held=False) == 55
    hpa = Hpa(HpaSettings())
    hpa.observe(sample)
    assert hpa.decide(0.0, View(1, ready=1)) == 1


def test_what_waits_in_front_exists_without_pods_and_only_for_those_who_ask():
    sample = Sample(0.0, held=3, held_tokens=700)
    assert sample.total(Signal.IN_FLIGHT, held=False) is None
    assert sample.total(Signal.IN_FLIGHT, held=True) == 3
    assert sample.total(Signal.TOKENS, held=True) == 700
    assert sample.total(Signal.KV, held=True) == 0


def test_policies_of_different_periods_do_not_go_together():
    with pytest.raises(ValueError, match="periods"):
        Apart({"a": Hpa(HpaSettings()), "b": Kubeai(KubeaiSettings())})
    with pytest.raises(ValueError, match="at least one"):
        Apart({})


def test_every_peer_has_a_grid_of_at_most_200_runs_that_are_all_valid():
    for peer in PEERS.values():
        settings = list(peer.grid.settings(peer.defaults))
        assert len(settings) == len(peer.grid) <= 200
        assert len(set(map(repr, settings))) == len(settings)
        for one in (*settings[::17], *peer.grid.front(peer.defaults)):
            peer.fleet({"only": Facts()}, one)
