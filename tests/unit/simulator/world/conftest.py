"""A small world to test on: one variant that costs a cent a second, an engine without surprises, requests where a test wants them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jevons.core.spec import Objectives, Profile
from jevons.simulator.cluster import Cluster
from jevons.simulator.fleet import Fleet
from jevons.simulator.scenario import Physics, Requests, Scenario, SimVariant, Startup

PROFILE = Profile(
    itl_a_s=0.02, itl_b_s=0.0005, itl_c_s=0.0001, prefill_p0_s=0.02, prefill_p1_s=0.1, prefill_p2_s=0.002, kv_tokens=100_000, max_num_seqs=64
)
MakeRequests = Callable[..., Requests]
MakeScenario = Callable[..., Scenario]


@pytest.fixture
def requests_at() -> MakeRequests:
    """Requests at the given instants, all of one size."""

    def make(at_s: Sequence[float], *, inputs: int = 500, outputs: int = 100, scores: Sequence[float] | None = None) -> Requests:
        n = len(at_s)
        score = np.zeros(n, np.float32) if scores is None else np.array(scores, np.float32)
        return Requests(np.array(at_s, np.float64), np.full(n, inputs, np.int32), np.full(n, outputs, np.int32), np.zeros(n, np.int32), score)

    return make


@pytest.fixture
def poisson(requests_at: MakeRequests) -> MakeRequests:
    """Requests at random instants: `rates` [1/s] hold for `each_s` seconds one after the other."""

    def make(rates: Sequence[float], *, each_s: float = 300.0, seed: int = 5, **sizes: Any) -> Requests:
        chance, at_s = np.random.default_rng(seed), []
        for index, rate in enumerate(rates):
            at_s.append(index * each_s + np.sort(chance.random(chance.poisson(rate * each_s))) * each_s)
        return requests_at(np.concatenate(at_s), **sizes)

    return make


@pytest.fixture
def scenario() -> MakeScenario:
    """A scenario around requests; `variant` changes fields of its one variant, the rest are fields of the scenario."""

    def make(requests: Requests, *, variant: dict[str, Any] | None = None, **fields: Any) -> Scenario:
        one = SimVariant("only", Physics(PROFILE), Startup(60.0), usd_per_h=36.0, max_replicas=16)
        given = {"variants": (replace(one, **(variant or {})),), "objectives": Objectives(95.0, 2.0, 0.06), **fields}
        return Scenario("small", requests, **given)

    return make


class Driven:
    """A cluster over its fleet, driven by hand."""

    def __init__(self, scenario: Scenario) -> None:
        self.fleet = Fleet(
            [variant.physics for variant in scenario.variants], scenario.requests, seed=scenario.seed, max_replicas=64, max_wait_s=scenario.max_wait_s
        )
        self.cluster = Cluster(scenario, self.fleet)

    def until(self, at_s: float) -> None:
        """Everything until and including `at_s`."""
        while self.cluster.next_s <= at_s:
            now = self.cluster.next_s
            self.fleet.advance(now)
            self.cluster.step(now)
        self.fleet.advance(at_s)


@pytest.fixture
def driven() -> Callable[[Scenario], Driven]:
    """Drive a scenario's cluster by hand."""
    return Driven
