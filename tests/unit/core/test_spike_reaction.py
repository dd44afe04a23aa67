"""Ten times the demand is answered within two periods, whatever traffic was before: long known, just begun, or bursty."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from core_worlds import KEY, NOW, SMALL, busy, demand, deployment, pod, state, variant_state, world

from jevons.core.decide import decide
from jevons.core.memory import Memory

PERIOD_S = 15.0
CHANCE = random.Random(7)
BEFORE = {
    "long known": [0.9] * 240,
    "a minute old": [0.9] * 4,
    "five minutes old": [0.9] * 20,
    "bursty": [rate for _ in range(30) for rate in [0.4] * CHANCE.randint(4, 14) + [4.0] * 2],
    "silent but for a little": [0.02] * 240,
}


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE.keys())
@pytest.mark.parametrize("startup_s", [30.0, 120.0, 300.0])
def test_ten_times_the_demand_is_answered_within_two_periods(before: list[float], startup_s: float) -> None:
    spec = deployment(replace(SMALL, max_replicas=64, startup_s=startup_s))
    memory, now, ready, most = Memory(), NOW, 1, max(before)
    steep = 10.0 * max(most, 0.9)
    for rate in [*before, steep / 2.0, steep]:  # the first pass falls into the spike's first period, and has seen half of it
        now += PERIOD_S
        pods = [pod(f"r{index}", now, running=busy(SMALL, rate / ready)) for index in range(ready)]
        seen = state(spec, {"small": variant_state(*pods)}, demand=(demand(rate, now),), last_arrival_at_s=now)
        decision = decide(world(seen, now=now, memory=memory), now)
        memory, wanted = decision.memory, decision.deployments[KEY].replicas[0].desired
        if rate <= most:
            ready = wanted
    assert wanted > ready


@pytest.mark.parametrize("back_s", [10.0, 300.0, 3600.0, 86_400.0])
def test_a_clock_that_goes_back_does_not_keep_it_from_answering(back_s: float) -> None:
    spec = deployment(replace(SMALL, max_replicas=64, startup_s=120.0))
    memory, now, ready = Memory(), NOW, 1
    for turn, rate in enumerate([0.9] * 240 + [0.9, 15.0, 30.0]):
        now += PERIOD_S if turn != 240 else PERIOD_S - back_s
        pods = [pod(f"r{index}", now, running=busy(SMALL, rate / ready)) for index in range(ready)]
        seen = state(spec, {"small": variant_state(*pods)}, demand=(demand(rate, now),), last_arrival_at_s=now)
        decision = decide(world(seen, now=now, memory=memory), now)
        memory, wanted = decision.memory, decision.deployments[KEY].replicas[0].desired
    assert wanted > ready
    slow_at_s = memory.deployments[KEY].variants["small"].slow_at_s
    assert slow_at_s is not None
    assert slow_at_s <= now
