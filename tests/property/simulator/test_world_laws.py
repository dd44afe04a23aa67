"""Whatever happens in a simulated cluster: nothing is lost from the books, and nobody holds what does not exist."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jevons.core.spec import Objectives, Profile
from jevons.simulator.cluster import Bill, Cluster
from jevons.simulator.competitors import jevons, peer
from jevons.simulator.fleet import Fleet
from jevons.simulator.scenario import Physics, Requests, Scenario, SimVariant, Startup
from jevons.simulator.world import simulate

FAST = Profile(0.01, 0.0004, 0.0001, 0.01, 0.05, 0.001, kv_tokens=60_000, max_num_seqs=32)
SLOW = Profile(0.03, 0.001, 0.0001, 0.02, 0.15, 0.002, kv_tokens=60_000, max_num_seqs=16)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Up to two variants on one class of accelerators, with everything that can go wrong, and up to 300 requests in ten minutes."""
    chance = np.random.default_rng(draw(st.integers(0, 2**20)))
    n = draw(st.integers(1, 300))
    requests = Requests(
        np.sort(chance.random(n)) * 600.0,
        chance.integers(1, 3000, n).astype(np.int32),
        chance.integers(1, 300, n).astype(np.int32),
        np.zeros(n, np.int32),
        chance.random(n).astype(np.float32),
    )
    variants = tuple(
        SimVariant(
            name,
            Physics(profile),
            Startup(draw(st.sampled_from([5.0, 40.0])), sigma=draw(st.sampled_from([0.0, 0.5])), fails=draw(st.sampled_from([0.0, 0.4]))),
            usd_per_h=usd,
            accelerators=draw(st.integers(1, 3)),
            max_replicas=5,
            initial_replicas=draw(st.integers(0, 2)),
            quality=quality,
            reclaim_per_h=draw(st.sampled_from([0.0, 30.0])),
            crash_per_h=draw(st.sampled_from([0.0, 30.0])),
        )
        for name, profile, usd, quality in (("small", FAST, 9.0, 0.8), ("large", SLOW, 36.0, 1.0))[: draw(st.integers(1, 2))]
    )
    return Scenario(
        "any",
        requests,
        variants,
        Objectives(),
        inventory=draw(st.sampled_from([{}, {"gpu": 13}])),
        provisioning_s=draw(st.sampled_from([0.0, 30.0])),
        free_at_start=draw(st.sampled_from([None, 12])),
        drain_limit_s=draw(st.sampled_from([2.0, 600.0])),
        max_wait_s=120.0,
        burn_in_s=draw(st.sampled_from([0.0, 100.0])),
        seed=draw(st.integers(0, 99)),
    )


@given(scenarios(), st.sampled_from(["jevons", "keda", "kpa", "wva"]))
@settings(max_examples=40, deadline=None)
def test_every_request_ends_once_and_no_answer_comes_before_its_question(scenario: Scenario, name: str) -> None:
    outcome = simulate(scenario, jevons(scenario) if name == "jevons" else peer(name, scenario))
    answered = outcome.variant >= 0
    assert np.array_equal(answered, np.isfinite(outcome.end_s))
    assert (outcome.first_token_s[answered] > scenario.requests.at_s[answered]).all()
    assert (outcome.end_s[answered] >= outcome.first_token_s[answered]).all()
    assert outcome.timeline[-1, 4:].sum() == 0
    assert outcome.ended_s >= scenario.requests.at_s[-1]
    assert 0.0 <= outcome.starting_gpu_s + outcome.drained_gpu_s <= outcome.gpu_s + 1e-6
    each = [variant.usd_per_h / variant.accelerators / 3600.0 for variant in scenario.variants]
    assert min(each) * outcome.gpu_s - 1e-6 <= outcome.usd <= max(each) * outcome.gpu_s + 1e-6


@given(scenarios(), st.lists(st.tuples(st.floats(0.0, 60.0), st.integers(0, 1), st.integers(0, 7)), max_size=30))
@settings(max_examples=80, deadline=None)
def test_pods_never_hold_more_than_there_is_and_are_paid_for_once(scenario: Scenario, orders: list[tuple[float, int, int]]) -> None:
    fleet = Fleet([variant.physics for variant in scenario.variants], scenario.requests, max_replicas=200, max_wait_s=scenario.max_wait_s)
    cluster, now = Cluster(scenario, fleet), 0.0
    seen = {pod for index in range(len(scenario.variants)) for pod in cluster.pods(index)}

    def until(at_s: float) -> None:
        while cluster.next_s <= at_s:
            step_s = cluster.next_s
            fleet.advance(step_s)
            cluster.step(step_s)
            seen.update(pod for index in range(len(scenario.variants)) for pod in cluster.pods(index))
            held = sum(
                scenario.variants[pod.variant].accelerators
                for index in range(len(scenario.variants))
                for pod in cluster.pods(index)
                if pod.scheduled_s is not None
            )
            assert held == cluster.nodes.taken("gpu") <= max(cluster.nodes.exist("gpu"), held if not scenario.inventory else 0)
            assert held <= scenario.inventory.get("gpu", 1000)

    for wait_s, index, replicas in orders:
        now += wait_s
        until(now)
        cluster.want(index % len(scenario.variants), replicas, now)
    until(now + scenario.actuation_s + 1e-6)
    for index in range(len(scenario.variants)):
        view = cluster.view(index)
        assert view.replicas == cluster.wanted[index]
        if scenario.variants[index].reclaim_per_h == 0.0:
            assert view.existing == view.replicas, "what is wanted exists, in whatever state"
    end_s = now + 10.0
    paid_s = sum(end - begin for _, _, begin, end in cluster.close(end_s).stretches)
    held_s = sum((end_s if pod.gone_s is None else pod.gone_s) - pod.scheduled_s for pod in seen if pod.scheduled_s is not None)
    assert paid_s == pytest.approx(held_s)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.floats(0.0, 900.0), st.floats(0.0, 300.0)), max_size=20), st.floats(0.0, 1000.0))
def test_money_is_the_same_wherever_time_is_cut(stretches: list[tuple[int, int, float, float]], cut_s: float) -> None:
    bill = Bill([(variant, kind, begin, begin + length) for variant, kind, begin, length in stretches])
    whole, early, late = bill.seconds(0.0, 1000.0), bill.seconds(0.0, cut_s), bill.seconds(cut_s, 1000.0)
    for line in whole:
        assert early[line] + late[line] == pytest.approx(whole[line])
    assert sum(whole.values()) == pytest.approx(sum(max(0.0, min(1000.0, begin + length) - begin) for _, _, begin, length in stretches))
