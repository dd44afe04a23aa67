"""Replicas that are taken away or that start slower than said: what the decision learns of them keeps more of the promise."""

from __future__ import annotations

import numpy as np
import pytest

from jevons.core import reclaim, startup
from jevons.core.spec import Objectives, Profile
from jevons.simulator.competitors import jevons
from jevons.simulator.scenario import Physics, Requests, Scenario, SimVariant, Startup, met
from jevons.simulator.traces_synthetic import Shape, lengths, synthetic
from jevons.simulator.world import simulate

LARGE = Profile(0.028269, 0.0001517, 0.00005662, 0.02069, 0.151782, 0.0016515, 458_846)


def scenario(requests: Requests, *, started_s: float, replicas: int, reclaim_per_h: float = 0.0) -> Scenario:
    start = Startup(started_s, 0.1)
    variant = SimVariant("large", Physics(LARGE, jitter=0.15), start, 14.7, accelerators=4, initial_replicas=replicas, reclaim_per_h=reclaim_per_h)
    return Scenario("unreliable", requests, (variant,), Objectives(ttft_s=2.0, itl_s=0.06), burn_in_s=1800.0)


def share_met(made: Scenario, **options: float) -> tuple[float, float]:
    """Of the requests after the burn-in, and USD."""
    outcome = simulate(made, jevons(made, **options))
    counted = made.requests.at_s >= made.burn_in_s
    return float(met(made.requests, outcome, made.objectives)[counted].mean()), outcome.usd


def steady(per_s: float, hours: float) -> Requests:
    chance, count = np.random.default_rng(0), int(per_s * hours * 3600.0)
    given, wanted = lengths(count, chance)
    return Requests(np.sort(chance.random(count)) * hours * 3600.0, given, wanted, np.zeros(count, np.int32), np.zeros(count, np.float32))


def test_spot_replicas_keep_more_of_the_promise_when_their_losses_are_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scenario(steady(5.0, 2.0), started_s=180.0, replicas=4, reclaim_per_h=3.0)
    learned, _ = share_met(made)
    monkeypatch.setattr(reclaim, "per_h", lambda _: 0.0)
    unaware, _ = share_met(made)
    assert learned > unaware + 0.04


def test_a_startup_time_that_was_told_too_short_is_put_right_by_the_starts_that_were_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scenario(synthetic(Shape.RAMP, peak_rps=8.0, length_s=5400.0, seed=0), started_s=120.0, replicas=1)
    learned, _ = share_met(made, startup_scale=0.25)
    monkeypatch.setattr(startup, "expected_s", lambda _, spec_s: spec_s)
    believed, _ = share_met(made, startup_scale=0.25)
    assert learned > believed + 0.01
