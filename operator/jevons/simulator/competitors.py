"""Who competes: every peer of `policies`, our own operator, and yardsticks that nobody runs in earnest.

    simulate(scenario, peer("keda", scenario))             documented defaults; or settings from PEERS["keda"].grid
    simulate(scenario, jevons(scenario, percentile=99))    the operator's own decide
    simulate(scenario, static(4))                          always four
    simulate(scenario, schedule((0, 600), (2, 5)))         two, and five from the tenth minute on, whatever happens

Each is good for one run.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jevons.core import capacity
from jevons.simulator.competitors_jevons import Jevons
from jevons.simulator.competitors_spec import JevonsSettings
from jevons.simulator.policies import PEERS, Facts, FleetPolicy, Sample, View
from jevons.simulator.policies.dynamo import DynamoSettings
from jevons.simulator.scenario import Controller, Floats, Scenario
from jevons.simulator.world import Inside

__all__ = ["Jevons", "JevonsSettings", "jevons", "peer", "schedule", "shared", "static"]


def peer(name: str, scenario: Scenario, settings: Any = None, *, pooled: bool = False) -> Controller:
    """The peer of that name (a key of `PEERS`) for the scenario's variants, by `settings` or its defaults. KeyError for one that is not known.

    pooled: the variants stand behind one endpoint, as WVA's always do.
    What a peer must be told of a variant it is told: price, and the engine's batch limits. Its bound on the fleet is the scenario's.
    """
    known = PEERS[name]
    facts = {
        variant.name: Facts(
            cost=variant.usd_per_h,
            max_num_seqs=variant.physics.profile.max_num_seqs,
            max_num_batched_tokens=variant.physics.profile.chunk_tokens,
        )
        for variant in scenario.variants
    }
    fleet = known.fleet(facts, _unbounded(known.defaults if settings is None else settings, scenario))
    if (pooled or name == "wva") and len(scenario.variants) > 1:
        return _Pooled(fleet, scenario)
    return _Activated(fleet) if name == "kpa" else fleet


def jevons(scenario: Scenario, percentile: float | None = None, **options: Any) -> Jevons:
    """Our operator, with an InferenceDeployment made from the scenario. `options` are fields of `JevonsSettings`."""
    return Jevons(scenario, JevonsSettings(percentile=percentile, **options))


def static(replicas: int | Mapping[str, int]) -> Controller:
    """Always the same number of replicas: of the one variant there is, or by variant (0 for those left out)."""
    return _Schedule((0.0,), [replicas], period_s=60.0)


def schedule(times: Sequence[float], replicas: Sequence[int | Mapping[str, int]], *, period_s: float = 15.0) -> Controller:
    """`replicas[k]` from `times[k]` [s, rising] on, at the first multiple of the period; the first also before its time.

    It looks at nothing, and may therefore know everything: plans made with foresight run as schedules.
    Raises ValueError when the two differ in length, or are empty.
    """
    return _Schedule(times, replicas, period_s=period_s)


def shared(controller: FleetPolicy, scenario: Scenario) -> Controller:
    """That controller with all its variants behind one endpoint: requests go by capacity to whatever is ready, as in a pool of llm-d."""
    return _Pooled(controller, scenario)


class _Schedule:
    """A plan made beforehand."""

    def __init__(self, times: Sequence[float], replicas: Sequence[int | Mapping[str, int]], *, period_s: float) -> None:
        if len(times) != len(replicas) or not len(times):
            raise ValueError(f"times and replicas: {len(times)} and {len(replicas)} entries; the same number is needed, at least one")
        self._times, self._replicas = [float(at_s) for at_s in times], list(replicas)
        self.period_s = self.sample_s = period_s

    def observe(self, samples: Mapping[str, Sample]) -> None:
        """It looks at nothing."""

    def decide(self, now: float, views: Mapping[str, View]) -> dict[str, int]:
        """What the plan says. ValueError for one number where there are several variants."""
        wanted = self._replicas[max(0, bisect_right(self._times, now + 1e-9) - 1)]
        if isinstance(wanted, Mapping):
            return {name: int(wanted.get(name, 0)) for name in views}
        if len(views) != 1:
            raise ValueError(f"replicas: {wanted} of which variant? There are {', '.join(views)}")
        return dict.fromkeys(views, int(wanted))

    def wake(self, now: float, views: Mapping[str, View]) -> dict[str, int]:
        """The plan has its own time."""
        del now
        return {name: view.replicas for name, view in views.items()}


class _Wrapped:
    """A peer with something of its own around it."""

    def __init__(self, fleet: FleetPolicy) -> None:
        self._fleet = fleet
        self.period_s, self.sample_s, self.due_s = fleet.period_s, fleet.sample_s, math.inf
        self._inside: Inside

    def meet(self, inside: Inside) -> None:
        """See `Insider`."""
        self._inside = inside

    def turned(self, now: float, *, readied: bool) -> None:
        """See `Insider`."""

    def observe(self, samples: Mapping[str, Sample]) -> None:
        """The peer's own."""
        self._fleet.observe(samples)

    def decide(self, now: float, views: Mapping[str, View]) -> Mapping[str, int]:
        """The peer's own."""
        return self._fleet.decide(now, views)

    def wake(self, now: float, views: Mapping[str, View]) -> Mapping[str, int]:
        """The peer's own."""
        return self._fleet.wake(now, views)


class _Activated(_Wrapped):
    """Knative: the activator tells the autoscaler of the request that it holds when it pokes it."""

    def wake(self, now: float, views: Mapping[str, View]) -> Mapping[str, int]:
        """With what the activator holds shown first."""
        self._fleet.observe(self._inside.scrape(now))
        return self._fleet.wake(now, views)


class _Pooled(_Wrapped):
    """All variants of a model are one pool, as in llm-d, whose endpoint picker sends a request to any of them, the more the faster it is.

    The picker looks at queues and caches; over the seconds that shares by capacity, which is what is done here, at random by request.
    """

    def __init__(self, fleet: FleetPolicy, scenario: Scenario) -> None:
        super().__init__(fleet)
        requests, made = scenario.requests, scenario.objectives
        tokens = max(1, round(float(requests.input_tokens.mean()))), max(1, round(float(requests.output_tokens.mean())))
        self._speed = [
            capacity.of_replica(variant.physics.profile, *tokens, made.itl_s, made.ttft_s).requests_per_s / variant.physics.slowdown
            for variant in scenario.variants
        ]
        self._lots: Floats = np.random.default_rng((scenario.seed, len(requests))).random(len(requests))

    def turned(self, now: float, *, readied: bool) -> None:
        """Spread what arrives from now on over the pods that are ready now; with none, it stays with the variant it would have waited for."""
        del readied
        weights = [speed * sum(pod.ready for pod in self._inside.pods(index)) for index, speed in enumerate(self._speed)]
        if sum(weights) > 0.0:
            first = int(np.searchsorted(self._inside.scenario.requests.at_s, now, "right"))
            bounds = np.cumsum(weights) / sum(weights)
            self._inside.route[first:] = np.minimum(np.searchsorted(bounds, self._lots[first:], "right"), len(weights) - 1)

    def meet(self, inside: Inside) -> None:
        """See `Insider`."""
        super().meet(inside)
        self.turned(0.0, readied=True)

    def wake(self, now: float, views: Mapping[str, View]) -> Mapping[str, int]:
        """Every sleeping variant of the pool is seen to."""
        del views
        return self._fleet.wake(now, {name: view for name, view in self._inside.views().items() if view.replicas == 0})


def _unbounded(settings: Any, scenario: Scenario) -> Any:
    """Dynamo's limit on GPUs raised to the scenario's: it bounds the bill, it is no tuning. The others' bounds are above every scenario's."""
    if not isinstance(settings, DynamoSettings):
        return settings
    each = max(variant.accelerators for variant in scenario.variants)
    return replace(settings, max_gpu_budget=each * max(variant.max_replicas for variant in scenario.variants), gpus_per_replica=each)
