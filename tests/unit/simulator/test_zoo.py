"""Benchmark B2: what a member's day is charged, that leaving out idle ticks changes nothing, and costs at equal cold starts."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from jevons.simulator.protocol import zoo_study
from jevons.simulator.protocol.zoo_figures import MemberRun, between, figures, joined, overlap
from jevons.simulator.protocol.zoo_member import run
from jevons.simulator.protocol.zoo_policies import KNOBS, contender, sleeping
from jevons.simulator.protocol.zoo_study import REFERENCE, Runs, Setting, ratios
from jevons.simulator.protocol.zoo_workload import CAP_PER_MINUTE, Member, capped, chain, priors, zoo_member
from jevons.simulator.traces import Zoo, columns

HOURS_S = 3.0 * 3600.0
SIZES = columns(np.arange(4.0), np.array([200, 900, 1500, 4000]), np.array([20, 100, 300, 700]))


def member(kind: str) -> Member:
    chance = np.random.default_rng(3)
    at_s = {
        "regular": np.arange(100.0, HOURS_S, 400.0),
        "rare": np.array([1000.0, 1030.0, 6000.0]),
        "bursty": np.sort(np.concatenate([start_s + 90.0 * chance.random(9) for start_s in (300.0, 900.0, 3000.0, 3500.0, 8000.0)])),
        "busy": np.sort(chance.random(700) * HOURS_S),
    }[kind]
    pick = chance.integers(0, len(SIZES), len(at_s))
    return Member(kind, columns(at_s, SIZES.input_tokens[pick], SIZES.output_tokens[pick]))


def same(one: MemberRun, other: MemberRun) -> bool:
    numbers = [(run.cold_starts, run.starts, run.cold, run.starting_s, run.ready_s, run.idle_s, run.stretches_s) for run in (one, other)]
    return numbers[0] == numbers[1] and np.array_equal(one.wait_s, other.wait_s)


@pytest.mark.parametrize("kind", ["regular", "rare", "bursty", "busy"])
@pytest.mark.parametrize(("policy", "knob"), [("jevons", 60.0), ("keda", 300.0), ("hybrid", 3600.0)])
def test_leaving_out_ticks_at_which_nothing_can_change_changes_nothing(kind: str, policy: str, knob: float) -> None:
    scenario = member(kind).scenario(30.0 if kind == "rare" else 120.0, seed=1)
    runs = []
    for every_tick in (False, True):
        one = contender(scenario, policy, knob)
        runs.append(run(one.scenario, one.controller, remembers_s=one.remembers_s, end_s=HOURS_S, every_tick=every_tick))
    assert same(*runs)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["regular", "rare", "bursty", "busy"])
@pytest.mark.parametrize(("policy", "knob"), [(policy, knob) for policy, knobs in KNOBS.items() for knob in knobs])
def test_leaving_out_ticks_changes_nothing_whatever_the_policy_and_its_knob(kind: str, policy: str, knob: float) -> None:
    scenario = member(kind).scenario(120.0, seed=1)
    runs = []
    for every_tick in (False, True):
        one = contender(scenario, policy, knob, told_s=(500.0, 5000.0))
        runs.append(run(one.scenario, one.controller, remembers_s=one.remembers_s, end_s=HOURS_S, every_tick=every_tick))
    assert same(*runs)


def test_always_on_is_never_cold_and_keda_waits_for_its_poll() -> None:
    scenario = member("rare").scenario(60.0, seed=1)
    found = {}
    for policy in ("always-on", "keda", "kubeai"):
        one = contender(scenario, policy, KNOBS[policy][0] if policy == "always-on" else 300.0)
        found[policy] = run(one.scenario, one.controller, remembers_s=one.remembers_s, end_s=HOURS_S)
    assert found["always-on"].cold_starts == 0
    assert found["always-on"].ready_s == pytest.approx(HOURS_S)
    assert found["keda"].cold_starts == found["kubeai"].cold_starts == 2
    assert found["keda"].wait_s.max() > found["kubeai"].wait_s.max()


def test_spans() -> None:
    assert joined([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0)]) == [(0.0, 3.0), (5.0, 6.0)]
    assert between([(1.0, 3.0), (5.0, 12.0)], 10.0) == [(0.0, 1.0), (3.0, 5.0)]
    assert overlap([(0.0, 4.0), (6.0, 9.0)], [(1.0, 2.0), (3.0, 7.0)]) == pytest.approx(3.0)


def test_a_day_in_figures() -> None:
    requests = columns(np.array([100.0, 250.0, 1000.0]), np.array([10, 10, 10]), np.array([5, 5, 5]))
    found = figures(
        requests,
        np.array([221.0, 251.0, 1001.0]),
        np.array([230.0, 260.0, 1010.0]),
        [(100.0, 220.0)],
        [(220.0, 1100.0)],
        until_s=2000.0,
        startup_s=120.0,
    )
    assert (found.requests, found.cold_starts, found.starts, found.cold) == (3, 1, 1, 1)
    assert found.starting_s == 120.0
    assert found.idle_s == pytest.approx(20.0 + 740.0 + 90.0), "between answers, and until it was let go"
    assert found.stretches_s == pytest.approx(740.0 + 90.0), "the pause of 20 s is traffic"
    assert found.wait_s.tolist() == [121.0]
    assert found.perfect_s == pytest.approx(120.0 + 20.0 + 120.0), "the first start, one short gap, one start in time"
    assert found.perfect_stretches_s == pytest.approx(120.0 + 120.0)


def test_what_came_before_the_scored_part_is_not_scored() -> None:
    requests = columns(np.array([100.0, 250.0, 1000.0, 1500.0]), np.array([10] * 4), np.array([5] * 4))
    first_s, end_s = np.array([221.0, 251.0, 1001.0, 1621.0]), np.array([230.0, 260.0, 1010.0, 1630.0])
    starting, ready = [(100.0, 220.0), (1500.0, 1620.0)], [(220.0, 1100.0), (1620.0, 1800.0)]
    found = figures(requests, first_s, end_s, starting, ready, until_s=2000.0, startup_s=120.0, since_s=900.0)
    assert (found.requests, found.cold_starts, found.starts, found.cold) == (2, 1, 1, 1)
    assert found.starting_s == 120.0
    assert found.idle_s == found.stretches_s == pytest.approx(100.0 + 90.0 + 170.0), "of the pause from 260 to 1000 s, 100 s"
    assert found.wait_s.tolist() == [121.0]
    assert found.perfect_s == pytest.approx(120.0 + 120.0), "one start for each pause that ends in it"


def test_what_a_zoo_showed_by_then_holds_nothing_of_what_comes_later() -> None:
    counts = np.zeros((2, 120), np.int32)
    counts[0, ::3] = 1
    counts[1, 60::20] = 1
    zoo, early = Zoo("zoo", ("a", "b"), counts), Zoo("zoo", ("a", "b"), np.where(np.arange(120) < 60, counts, 0))
    known, half = priors(zoo, SIZES, 1, 1800.0), priors(early, SIZES, 1, 1800.0)
    assert known[0] == ()
    assert known[1:3] == half[1:3] != ((), ())
    assert known[-1] != half[-1]


def made(cold: float, hours: float) -> MemberRun:
    return MemberRun(100, round(cold), round(cold), round(cold), 0.0, 0.0, hours * 3600.0, hours * 3600.0, np.empty(0), 0.0, 0.0)


@pytest.mark.parametrize("match", ["rate", "starts"])
def test_hours_at_the_reference_s_cold_starts_are_interpolated_and_paired(match: str) -> None:
    points: dict[Setting, tuple[float, float]] = {
        REFERENCE: (10, 8.0),
        ("jevons", 1.0): (20, 2.0),
        ("jevons", 2.0): (0, 6.0),
        ("kpa", 0.0): (30, 1.0),
    }
    runs = Runs(4, 2, {30.0: {setting: [[made(*point)] * 2] * 4 for setting, point in points.items()}})
    ours = ratios(runs, 30.0, "jevons", match=match, count=50)
    assert ours.hours == pytest.approx(4 * 4.0)
    assert (ours.over.value, ours.over.low, ours.over.high) == pytest.approx((0.5, 0.5, 0.5))
    assert ours.met is True, "gated on either reading"
    assert ratios(runs, 30.0, "jevons", measure="all", match=match, count=50).met is None
    assert math.isnan(ratios(runs, 30.0, "kpa", match=match, count=50).over.value), "it never has so few cold starts"
    assert ratios(runs, 30.0, "keda", match=match, count=50).over.value == pytest.approx(1.0)


def test_heavy_heads_are_capped_and_every_call_stays_in_its_minute() -> None:
    zoo = capped(Zoo("zoo", ("a",), np.array([[0, 3, 500]], np.int32)))
    requests = zoo_member(zoo, SIZES, 0, seed=5).requests
    assert np.bincount((requests.at_s // 60.0).astype(int)).tolist() == [0, 3, CAP_PER_MINUTE]


def test_most_of_b_s_calls_follow_one_of_a_s() -> None:
    first, second = chain(2, SIZES, seed=0)
    after = second.requests.at_s[:, None] - first.requests.at_s[None, :]
    follows = ((after > 0) & (after < 300.0)).any(axis=1).mean()
    assert follows > 0.7
    assert second.told_s == tuple(first.requests.at_s.tolist())


def test_equal_jobs_give_equal_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = Zoo("zoo", ("a",), np.array([[1, 0, 0, 0, 0, 0, 0, 0, 0, 1]], np.int32))
    monkeypatch.setattr(zoo_study, "_zoo", lambda _: (zoo, SIZES))
    settings = (REFERENCE, ("always-on", 1.0))
    job = zoo_study.MemberJob(tmp_path, 0, 0, (30.0,), settings)
    rows = []
    for _ in range(2):
        runs = zoo_study.gathered([job], [zoo_study.work(job)])
        rows.append([zoo_study.row(runs, "zoo", 30.0, setting) for setting in settings])
    assert rows[0] == rows[1]
    assert rows[0][0]["cold_starts"] == 2
    assert zoo_study.perfect(runs, 30.0, "stretches") < 1.0


@pytest.mark.parametrize(("kind", "knob"), [("regular", 60.0), ("bursty", 0.0), ("rare", 0.0)])
def test_leaving_out_ticks_changes_nothing_for_one_that_sleeps_in_host_memory(kind: str, knob: float) -> None:
    scenario = member(kind).scenario(120.0, seed=1)
    runs = []
    for every_tick in (False, True):
        one = contender(scenario, sleeping(0.1, 5.0), knob)
        runs.append(run(one.scenario, one.controller, remembers_s=one.remembers_s, end_s=HOURS_S, every_tick=every_tick))
    assert same(*runs)
    assert (runs[0].resting_s, runs[0].waking_s, runs[0].wakes, runs[0].woken) == (
        runs[1].resting_s,
        runs[1].waking_s,
        runs[1].wakes,
        runs[1].woken,
    )


def test_sleep_in_host_memory_turns_cold_starts_into_short_waits_for_less() -> None:
    scenario = member("regular").scenario(120.0, seed=1)
    found = {}
    for policy, knob in (("keda", 300.0), ("jevons", 0.0), (sleeping(0.05, 5.0), 0.0)):
        one = contender(scenario, policy, knob)
        found[policy] = run(one.scenario, one.controller, remembers_s=one.remembers_s, end_s=HOURS_S)
    slept, loaded, keda = found[sleeping(0.05, 5.0)], found["jevons"], found["keda"]
    assert slept.cold == 1, "the first call of all"
    assert slept.wakes > 20
    assert slept.woken < slept.wakes, "the others were woken ahead of a call"
    assert keda.cold > 10
    assert float(np.sort(slept.wait_s)[-2]) < 8.0
    hours = {name: one.idle_s + one.starting_s + one.sleep_s for name, one in found.items()}
    assert hours[sleeping(0.05, 5.0)] < 0.6 * min(hours["keda"], hours["jevons"])
    assert loaded.resting_s == 0.0


def test_sleep_is_weighed_by_its_share_and_no_cold_start() -> None:
    requests = columns(np.array([100.0, 1000.0]), np.array([10, 10]), np.array([5, 5]))
    first_s, end_s = np.array([221.0, 1006.0]), np.array([230.0, 1010.0])
    ready, resting, waking = [(220.0, 300.0), (1005.0, 1100.0)], [(300.0, 1000.0)], [(1000.0, 1005.0)]
    found = figures(requests, first_s, end_s, [(100.0, 220.0)], ready, until_s=2000.0, startup_s=120.0, resting=resting, waking=waking, holding=0.1)
    assert (found.cold, found.cold_starts, found.woken, found.wakes) == (1, 1, 1, 1)
    assert found.sleep_s == pytest.approx(5.0 + 70.0)
    assert found.wait_s.tolist() == [121.0, 6.0]
