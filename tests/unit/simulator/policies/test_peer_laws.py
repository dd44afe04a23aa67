"""What holds for every peer whatever the load: bounds, more load never fewer replicas, and that a loop with slow starts ends somewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jevons.simulator.policies import PEERS, Facts, FleetPolicy, Reading, Sample, View

UNSTEADY = {"aibrix-kpa", "wva"}
"""Not monotone by their own rules: a mean divided as if it were a total; a capacity that is learned from the load."""


def bounded(name: str, minimum: int, maximum: int):
    peer = PEERS[name]
    if name == "static":
        return replace(peer.defaults, replicas=minimum)
    if name == "dynamo":
        return replace(peer.defaults, minimum=minimum, max_gpu_budget=maximum)
    return replace(peer.defaults, minimum=minimum, maximum=maximum)


def sample(at_s: float, replicas: int, load: int, *, arrived: int = 0) -> Sample:
    """`load` requests spread over the replicas, eight running on each at most, 100 tokens each of a cache of 1,000."""
    pods = []
    for number in range(replicas):
        mine = load // replicas + (1 if number < load % replicas else 0)
        running = min(mine, 8)
        pods.append(Reading(f"pod-{number}", running, mine - running, 100 * running, 1000, 100 * (mine - running)))
    return Sample(at_s, tuple(pods), held=0 if replicas else load, arrivals=arrived, completed=arrived)


def run(fleet: FleetPolicy, loads: list[int], *, replicas: int, startup_s: float) -> list[int]:
    """A loop of 60 s per load, one second a step, in which replicas take `startup_s` to start and none to go. What was wanted at each decision."""
    ready, started, wanted, seen, arrived = replicas, [], replicas, [], 0
    for second in range(60 * len(loads)):
        now, load = float(second), loads[second // 60]
        arrived += load
        ready += sum(1 for at in started if at <= now)
        started = [at for at in started if at > now]
        if second % round(fleet.sample_s) == 0:
            fleet.observe({"only": sample(now, ready, load, arrived=arrived)})
        view = View(wanted, ready=ready, starting=len(started))
        if second % round(fleet.period_s) == 0:
            wanted = fleet.decide(now, {"only": view})["only"]
            seen.append(wanted)
        elif wanted == 0 and load:
            wanted = fleet.wake(now, {"only": view})["only"]
        while ready + len(started) > wanted:
            if started:
                started.pop()
            else:
                ready -= 1
        started += [now + startup_s] * (wanted - ready - len(started))
    return seen


@pytest.mark.parametrize("name", sorted(PEERS))
@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 200), min_size=1, max_size=5), st.integers(1, 3), st.integers(0, 5))
def test_no_peer_leaves_its_bounds(name, loads, minimum, more):
    fleet = PEERS[name].fleet({"only": Facts()}, bounded(name, minimum, minimum + more))
    wanted = run(fleet, loads, replicas=minimum, startup_s=20.0)
    assert minimum <= min(wanted)
    assert max(wanted) <= minimum + more


@pytest.mark.parametrize("name", sorted(set(PEERS) - UNSTEADY))
@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(1, 12), st.integers(0, 4), st.integers(0, 3)), st.integers(0, 300), st.integers(0, 300))
def test_more_load_never_asks_for_fewer_replicas(name, replicas, load, more):
    ready, starting, pending = replicas

    def answer(load: int) -> int:
        fleet = PEERS[name].fleet({"only": Facts()})
        view = View(sum(replicas), ready=ready, starting=starting, pending=pending)
        for at_s in (0.0, 30.0):
            fleet.observe({"only": sample(at_s, ready, load, arrived=int(at_s))})
        return fleet.decide(30.0, {"only": view})["only"]

    assert answer(load) <= answer(load + more)


@pytest.mark.parametrize("name", sorted(PEERS))
def test_a_peer_is_a_function_of_what_it_has_seen(name):
    loads = [10, 150, 0, 60]
    once, again = (run(PEERS[name].fleet({"only": Facts()}), loads, replicas=1, startup_s=60.0) for _ in range(2))
    assert once == again


@pytest.mark.parametrize("name", sorted(set(PEERS) - {"static", "aibrix-kpa"}))
def test_a_peer_grows_under_a_lasting_overload(name):
    """120 requests in flight that never end, on replicas that run eight: everyone wants more than one in the end, except a mean taken for a total."""
    wanted = run(PEERS[name].fleet({"only": Facts()}), [120] * 12, replicas=1, startup_s=60.0)
    assert wanted[-1] > 1
