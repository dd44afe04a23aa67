"""A member's day by gaps is the simulator's day, to a pass or so."""

from __future__ import annotations

import numpy as np
import pytest

from jevons.simulator.protocol.zoo_figures import MemberRun
from jevons.simulator.protocol.zoo_gaps import Always, Jevons, Keda, Keeper, Plan, Seen, Sleeper, walk
from jevons.simulator.protocol.zoo_member import run
from jevons.simulator.protocol.zoo_policies import contender, sleeping
from jevons.simulator.protocol.zoo_workload import Member
from jevons.simulator.scenario import Requests
from jevons.simulator.traces import columns

HOURS_S = 6.0 * 3600.0


def member(kind: str) -> Member:
    chance = np.random.default_rng(3)
    at_s = {
        "regular": np.arange(100.0, HOURS_S, 420.0) + 20.0 * chance.random(52),
        "rare": np.array([1000.0, 1037.0, 6000.0, 20_000.0]),
        "bursty": np.sort(np.concatenate([start_s + 90.0 * chance.random(9) for start_s in np.arange(300.0, HOURS_S, 900.0)])),
        "at random": np.cumsum(chance.exponential(400.0, 50)),
    }[kind]
    return Member(kind, columns(at_s, np.full(len(at_s), 800), np.full(len(at_s), 120)))


def both(kind: str, policy: str, knob: float, startup_s: float) -> tuple[MemberRun, MemberRun]:
    one = member(kind)
    made = contender(one.scenario(startup_s, seed=1), policy, knob)
    simulated = run(made.scenario, made.controller, remembers_s=made.remembers_s, end_s=HOURS_S)
    rules: dict[str, Keeper] = {"jevons": Jevons(Seen.of(one.requests.at_s), startup_s, knob, ()), "keda": Keda(knob), "always-on": Always()}
    return simulated, walk(one.requests, rules[policy], startup_s, seed=1, until_s=HOURS_S)


@pytest.mark.parametrize("kind", ["regular", "rare", "bursty", "at random"])
@pytest.mark.parametrize(("policy", "knob", "startup_s"), [("keda", 300.0, 30.0), ("keda", 150.0, 120.0), ("always-on", 1.0, 30.0)])
def test_keda_and_no_sleep_are_as_simulated(kind: str, policy: str, knob: float, startup_s: float) -> None:
    simulated, walked = both(kind, policy, knob, startup_s)
    assert walked.requests == simulated.requests
    assert walked.cold_starts == pytest.approx(simulated.cold_starts, abs=1)
    assert walked.starts == pytest.approx(simulated.starts, abs=1)
    assert walked.cold == pytest.approx(simulated.cold, rel=0.1, abs=2)
    assert walked.ready_s == pytest.approx(simulated.ready_s, rel=0.03, abs=30.0)
    assert walked.stretches_s == pytest.approx(simulated.stretches_s, rel=0.03, abs=30.0)
    assert walked.starting_s == pytest.approx(simulated.starting_s, rel=0.1)
    assert walked.perfect_s == pytest.approx(simulated.perfect_s, rel=0.02)


@pytest.mark.parametrize("kind", ["regular", "rare", "bursty", "at random"])
@pytest.mark.parametrize(("knob", "startup_s"), [(200.0, 30.0), (0.0, 120.0)])
def test_jevons_is_about_as_simulated(kind: str, knob: float, startup_s: float) -> None:
    simulated, walked = both(kind, "jevons", knob, startup_s)
    assert walked.starts == pytest.approx(simulated.starts, rel=0.1, abs=1)
    assert walked.cold_starts == pytest.approx(simulated.cold_starts, rel=0.1, abs=1)
    paid = [one.starting_s + one.stretches_s for one in (walked, simulated)]
    assert paid[0] == pytest.approx(paid[1], rel=0.05, abs=60.0)


def calls(*at_s: float) -> Requests:
    return columns(np.array(at_s), np.full(len(at_s), 10), np.full(len(at_s), 1))


def test_keda_stays_past_its_cooldown_until_the_poll_after_it() -> None:
    found = walk(calls(100.0), Keda(300.0), 30.0, seed=0, until_s=2000.0)
    assert found.starts == found.cold_starts == 1
    begin_s = 120.0 + found.starting_s
    assert begin_s + found.ready_s == pytest.approx(480.0), "woken at 120 s, held until ready, last seen active at 150 s, past 450 s at 480 s"


def test_a_call_during_a_start_ahead_of_it_is_cold_and_waits_for_the_rest() -> None:
    class Ahead(Keda):
        def plan(self, called_s: float, idle_s: float) -> Plan:
            return Plan(idle_s + 60.0, [(called_s + 500.0, called_s + 800.0)])

    found = walk(calls(90.0, 600.0), Ahead(300.0), 60.0, seed=0, until_s=2000.0)
    assert (found.starts, found.cold_starts, found.cold) == (3, 2, 2), "the third is ahead of a call that does not come"
    assert found.wait_s[1] < 60.0
    sleeping = walk(calls(90.0, 1500.0), Ahead(300.0), 60.0, seed=0, until_s=2000.0)
    assert (sleeping.starts, sleeping.cold_starts) == (3, 2), "for the first, ahead of one that did not come, and for the second"


@pytest.mark.parametrize("kind", ["regular", "rare", "bursty", "at random"])
@pytest.mark.parametrize(("knob", "holding"), [(0.0, 0.1), (400.0, 0.05)])
def test_sleep_in_host_memory_is_about_as_simulated(kind: str, knob: float, holding: float) -> None:
    one = member(kind)
    made = contender(one.scenario(120.0, seed=1), sleeping(holding, 5.0), knob)
    simulated = run(made.scenario, made.controller, remembers_s=made.remembers_s, end_s=HOURS_S)
    walked = walk(one.requests, Sleeper(Seen.of(one.requests.at_s), 120.0, knob, (), holding, 5.0), 120.0, seed=1, until_s=HOURS_S)
    assert walked.starts == pytest.approx(simulated.starts, rel=0.15, abs=1)
    assert walked.wakes == pytest.approx(simulated.wakes, rel=0.15, abs=2)
    assert walked.resting_s == pytest.approx(simulated.resting_s, rel=0.2, abs=120.0)
    paid = [one.starting_s + one.stretches_s + one.sleep_s for one in (walked, simulated)]
    assert paid[0] == pytest.approx(paid[1], rel=0.12, abs=90.0)
