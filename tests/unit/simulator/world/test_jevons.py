"""Our operator inside the simulator: the same decide, on what it would have read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jevons.core.decide import decide
from jevons.core.observed import Known, Unknown
from jevons.core.snapshot import SCORE_BINS, RouterCurve, Snapshot
from jevons.core.spec import RoutingMode
from jevons.simulator import competitors_jevons
from jevons.simulator.competitors import Jevons, JevonsSettings, jevons
from jevons.simulator.competitors_spec import EPOCH_S, KEY
from jevons.simulator.scenario import Physics, Scenario, Startup, met
from jevons.simulator.world import simulate

CURVE = RouterCurve(tuple(0.4 + 0.6 * bin_ / (SCORE_BINS - 1) for bin_ in range(SCORE_BINS)), (1.0,) * SCORE_BINS)


@pytest.fixture
def snapshots(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Snapshot, float]]:
    """Every snapshot that decide is asked on."""
    seen: list[tuple[Snapshot, float]] = []

    def watched(snapshot: Snapshot, now: float, solver: Any) -> Any:
        seen.append((snapshot, now))
        return decide(snapshot, now, solver)

    monkeypatch.setattr(competitors_jevons, "decide", watched)
    return seen


@pytest.fixture
def two_variants(poisson: Any, scenario: Any) -> Scenario:
    """A small variant and a large one of which each could serve all, and requests of every score."""
    requests = poisson([6.0, 6.0])
    requests = replace(requests, score=np.random.default_rng(3).random(len(requests)).astype(np.float32))
    setting = scenario(requests)
    large = replace(setting.variants[0], name="large")
    small = replace(large, name="small", quality=0.7, usd_per_h=9.0, physics=Physics(replace(large.physics.profile, itl_a_s=0.01)))
    return replace(setting, variants=(small, large))


def test_from_zero_it_wakes_at_once_and_goes_back_when_nobody_comes(requests_at: Any, scenario: Any) -> None:
    setting = scenario(requests_at([500.0, 501.0, 4000.0]), variant={"initial_replicas": 0})
    outcome = simulate(setting, jevons(setting))
    assert outcome.first_token_s - setting.requests.at_s == pytest.approx([60.6, 59.7, 60.6], abs=0.3)
    at_s, ready, starting = outcome.timeline[:, :3].T
    assert (ready + starting)[at_s < 500.0].max() == 0
    assert (ready + starting)[(at_s > 2000.0) & (at_s < 4000.0)].max() == 0, "asleep between the two"
    assert outcome.usd < 0.01 * 1500.0


def test_bursts_that_find_nothing_ready_do_not_break_the_promise_for_good(poisson: Any, scenario: Any) -> None:
    """Five minutes of traffic, then quiet for longer than a start is worth by itself: one burst is late, and the next ones find a replica."""
    setting = scenario(poisson([4.0, *[0.0] * 7] * 5), variant={"startup": Startup(120.0)})
    kept = met(setting.requests, simulate(setting, jevons(setting)), setting.objectives)
    burst = (setting.requests.at_s // 2400.0).astype(int)
    by_burst = [kept[burst == one].mean() for one in range(5)]
    assert by_burst[1] < 0.7, "nothing was ready"
    assert min(by_burst[3:]) > 0.9


def test_what_it_reads_is_dated_and_nothing_is_read_of_a_loading_pod(poisson: Any, scenario: Any, snapshots: list[tuple[Snapshot, float]]) -> None:
    setting = scenario(poisson([1.0, 12.0]), variant={"startup": Startup(100.0)})
    simulate(setting, jevons(setting))
    loading = 0
    for snapshot, now in snapshots:
        state = snapshot.deployments[KEY]
        for pod in state.variants["only"].pods:
            assert pod.created_at_s <= now
            if pod.ready_at_s is None:
                loading += 1
                assert isinstance(pod.signals.running, Unknown)
            if isinstance(pod.signals.running, Known):
                assert 0.0 <= now - pod.signals.running.at_s <= 15.0
                assert isinstance(pod.signals.gpu_util, Known)
                assert 0.0 <= pod.signals.gpu_util.value <= 1.0
        if state.last_arrival_at_s is not None:
            arrived = setting.requests.at_s[setting.requests.at_s <= now - EPOCH_S]
            assert state.last_arrival_at_s - EPOCH_S == pytest.approx(arrived[-1])
    assert loading > 0


def test_it_passes_each_period_and_a_moment_after_a_pod_became_ready(poisson: Any, scenario: Any, snapshots: list[tuple[Snapshot, float]]) -> None:
    setting = scenario(poisson([1.0, 30.0], each_s=100.0), variant={"startup": Startup(40.2)})
    simulate(setting, jevons(setting))
    times = [round(now - EPOCH_S, 3) for _, now in snapshots]
    assert {15.0 * k for k in range(1, 14)} <= set(times)
    extra = [at_s for at_s in times if at_s % 15.0]
    assert extra
    assert all(any(0.0 <= at_s - (created + 40.7) <= 1.0 for created in times) for at_s in extra), extra


def test_its_ledger_agrees_with_the_bill_up_to_the_passes_between_which_pods_go(poisson: Any, scenario: Any) -> None:
    setting = scenario(poisson([2.0, 20.0, 2.0]), variant={"accelerators": 4, "startup": Startup(60.0, 0.3)})
    controller = jevons(setting)
    outcome = simulate(setting, controller)
    assert controller.spent_usd == pytest.approx(outcome.usd, rel=0.05)


def test_the_pods_with_the_least_work_are_marked(poisson: Any, scenario: Any) -> None:
    setting = scenario(poisson([15.0, 1.0, 1.0], outputs=400), variant={"startup": Startup(30.0)})
    marks: list[tuple[set[float], set[float]]] = []

    class Marking(Jevons):
        def _victims(self, index: int, leaving: int) -> frozenset[str]:
            chosen = super()._victims(index, leaving)
            work: dict[bool, set[float]] = {True: set(), False: set()}
            for pod in self._inside.pods(index):
                signals = self._signals.get(pod.series)
                if pod.ready and signals is not None and isinstance(signals.running, Known) and isinstance(signals.waiting, Known):
                    work[pod.name in chosen].add(signals.running.value + signals.waiting.value)
            marks.append((work[True], work[False]))
            return chosen

    simulate(setting, Marking(setting, JevonsSettings()))
    compared = [(chosen, kept) for chosen, kept in marks if chosen and kept]
    assert compared
    assert all(max(chosen) <= min(kept) for chosen, kept in compared)


def test_simple_requests_go_to_the_cheap_variant_and_hard_ones_do_not(two_variants: Scenario) -> None:
    controller = jevons(two_variants, curve=CURVE)
    outcome = simulate(two_variants, controller)
    late = two_variants.requests.at_s > 60.0
    small, large = (two_variants.requests.score[late & (outcome.variant == index)] for index in (0, 1))
    assert 0.1 < len(small) / late.sum() < 0.9
    assert np.quantile(small, 0.02) >= np.quantile(large, 0.98) - 0.12, "thresholds move a little from pass to pass"
    assert met(two_variants.requests, outcome, two_variants.objectives)[late].mean() > 0.95


def test_a_sleeping_variant_that_is_asked_for_is_started(two_variants: Scenario) -> None:
    asleep = replace(two_variants, variants=(two_variants.variants[0], replace(two_variants.variants[1], initial_replicas=0)))
    outcome = simulate(asleep, jevons(asleep, curve=CURVE))
    answered_s = outcome.first_token_s[outcome.variant == 1].min()
    assert 59.0 < answered_s < 120.0
    assert (outcome.variant >= 0).all()


def test_without_routing_all_goes_to_the_best(two_variants: Scenario) -> None:
    outcome = simulate(two_variants, jevons(two_variants, routing=RoutingMode.OFF))
    assert set(outcome.variant.tolist()) == {1}


@pytest.mark.parametrize("scale", [None, 1.0 / 3.0, 3.0])
def test_a_wrong_profile_or_none_is_survived(scale: float | None, poisson: Any, scenario: Any) -> None:
    setting = scenario(poisson([2.0, 8.0, 2.0]))
    outcome = simulate(setting, jevons(setting, prior_scale=scale, startup_scale=0.5))
    assert np.isfinite(outcome.end_s).all()


def test_a_slower_profile_buys_more_replicas(poisson: Any, scenario: Any) -> None:
    setting = scenario(poisson([6.0]))
    believed = [simulate(setting, jevons(setting, prior_scale=scale)).usd for scale in (1.0, 1.8)]
    assert believed[0] < believed[1]


def test_a_higher_percentile_buys_more(poisson: Any, scenario: Any) -> None:
    setting = scenario(poisson([8.0, 12.0]))
    assert simulate(setting, jevons(setting, 50.0)).usd < simulate(setting, jevons(setting, 99.9)).usd
