"""Who competes in the zoo, and the one knob of each that trades idle hours for cold starts.

| policy | knob |
|---|---|
| `jevons` | what a late answer costs (`lateAnswerCost`), as seconds of the replica's price; `auto` is the API's default |
| `jevons-sleep H W` | the same; a replica may sleep in host memory at H of its price and wakes in W seconds (`sleeping(H, W)`) |
| `jevons-alone` | the same without hearing any other model: no prior of the zoo, no co-wake (agent chains only) |
| `keda` | `cooldownPeriod`; 300 s is its default and the reference of the benchmark |
| `kpa` | the pod retention period; 0 s is the default |
| `kubeai` | the window of its mean (10 min by default) |
| `hybrid` | the histogram's range (4 h in the paper), loading early by the startup time |
| `always-on` | none |
| `co-wake` | a yardstick for agent chains: started whenever the model is called whose calls foretell its own; kept so long after either |

KEDA's query sees what waits in front of the pods, and arrivals keep it alive, as in its default here; it is the one that cannot wake at once. Knative
measures every second and decides every two; here both are 5 s, so that a run is affordable (its windows are 60 s and 30 s).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np

from jevons.core import hazard, tiers
from jevons.core.hazard import Gaps
from jevons.core.idle import LONGEST_S
from jevons.core.memory import DeploymentMemory, Memory
from jevons.core.moving import LONG_WORK_S, cold_loss_s
from jevons.core.snapshot import DeploymentState, Snapshot
from jevons.core.spec import Key, ScalingMode, ScalingSpec
from jevons.core.startup import expected_s, wake_s
from jevons.core.warmth import Warmth, warmth
from jevons.simulator import competitors
from jevons.simulator.competitors_jevons import Jevons
from jevons.simulator.competitors_spec import EPOCH_S, KEY, JevonsSettings
from jevons.simulator.policies.hybrid import Hybrid, HybridSettings
from jevons.simulator.policies.keda import KedaSettings
from jevons.simulator.policies.kpa import KpaSettings
from jevons.simulator.policies.kubeai import KubeaiSettings
from jevons.simulator.policies.policy import Sample, View
from jevons.simulator.scenario import Controller, HostMemory, Scenario

KNATIVE = KpaSettings(maximum=1, tick_s=5.0, scrape_s=5.0)
SETTLED_S = 120.0
"""So long after its last request a sleeping deployment's readings (rates over a minute) are zero."""
SEEN_S = 35.0
"""Work that there is is seen by then: two scrapes and a moment."""
CALLER = Key(KEY.namespace, "caller")
PRIOR_S = 1800.0
"""What the zoo showed together is brought up to date this often."""
CHAINED = frozenset({"co-wake", "jevons-alone"})
"""Only meant for agent chains."""
SLEEPS, WAKE_SIGMA = "jevons-sleep ", 0.1
AUTO = 0.0
"""Jevons' knob at the API's default."""

KNOBS: Mapping[str, tuple[float, ...]] = {
    "jevons": (AUTO, 10.0, 60.0, 180.0, 400.0, 900.0, 2400.0, 7200.0),
    "keda": (60.0, 150.0, 300.0, 600.0, 1200.0),
    "kpa": (0.0, 120.0, 300.0, 600.0, 1200.0),
    "kubeai": (60.0, 180.0, 300.0, 600.0, 1200.0),
    "hybrid": (300.0, 900.0, 1800.0, 3600.0, 14_400.0),
    "always-on": (1.0,),
    "co-wake": (300.0,),
    "jevons-alone": (AUTO,),
}
DEFAULTS: Mapping[str, float] = {
    "jevons": AUTO,
    "jevons-alone": AUTO,
    "keda": 300.0,
    "kpa": 0.0,
    "kubeai": 600.0,
    "hybrid": 14_400.0,
    "always-on": 1.0,
    "co-wake": 300.0,
}
BY_GAPS: Mapping[str, tuple[float, ...]] = {
    "jevons": (AUTO, 30.0, 60.0, 120.0, 180.0, 270.0, 400.0, 600.0, 1200.0),
    "keda": (150.0, 300.0, 600.0),
    "always-on": (1.0,),
}
"""A walk over gaps costs little (`zoo_gaps.py`)."""
QUICK: Mapping[str, tuple[float, ...]] = {
    "jevons": (AUTO, 30.0, 90.0, 180.0, 600.0),
    "keda": (300.0,),
    "kpa": (0.0, 300.0),
    "kubeai": (300.0, 600.0),
    "hybrid": (900.0, 14_400.0),
    "always-on": (1.0,),
}


@dataclass(frozen=True, slots=True)
class Contender:
    """A competitor for one member, fresh; `scenario` is the member's, with what the knob changes in it."""

    scenario: Scenario
    controller: Controller
    remembers_s: float


def contender(scenario: Scenario, policy: str, knob: float, told_s: Sequence[float] = (), priors: Sequence[Gaps] = ()) -> Contender:
    """A fresh competitor. `told_s`, `priors`: see `Rested`. Raises KeyError for a policy nobody knows."""
    made: Mapping[str, Callable[[Scenario, float], Contender]] = {
        "jevons": lambda world, late_s: _jevons(world, late_s, told_s, priors),
        "jevons-alone": lambda world, late_s: _jevons(world, late_s, (), ()),
        "keda": lambda world, cooldown_s: _peer(world, "keda", KedaSettings(sees_held=True, cooldown_s=cooldown_s, maximum=1), 330.0),
        "kpa": lambda world, retention_s: _peer(world, "kpa", replace(KNATIVE, retention_s=retention_s), 2.0 * KNATIVE.stable_s),
        "kubeai": lambda world, window_s: _peer(world, "kubeai", KubeaiSettings(window_s=window_s, maximum=1), window_s + 60.0),
        "hybrid": _hybrid,
        "always-on": _always_on,
        "co-wake": lambda world, keep_s: Contender(world, One(Told(told_s, keep_s)), 30.0),
    }
    costs = asleep(policy)
    if costs is not None:
        variants = tuple(replace(variant, sleep=HostMemory(*costs, WAKE_SIGMA)) for variant in scenario.variants)
        return _jevons(replace(scenario, variants=variants), knob, told_s, priors)
    return made[policy](scenario, knob)


def asleep(policy: str) -> tuple[float, float] | None:
    """Share of the price and seconds of the wake in a name that `sleeping` gave; None for other names."""
    if not policy.startswith(SLEEPS):
        return None
    holding, wake_s = map(float, policy.removeprefix(SLEEPS).split())
    return holding, wake_s


def sleeping(holding: float, wake_s: float) -> str:
    """Name of Jevons with replicas that may sleep in host memory."""
    return f"{SLEEPS}{holding:g} {wake_s:g}"


def _jevons(scenario: Scenario, knob: float, told_s: Sequence[float], priors: Sequence[Gaps]) -> Contender:
    usd_per_s = scenario.variants[0].usd_per_h / 3600.0
    late = None if knob == AUTO else Decimal(f"{knob * usd_per_s:.9f}")
    scenario = replace(scenario, objectives=replace(scenario.objectives, late_cost_usd=late))
    return Contender(scenario, Rested(scenario, JevonsSettings(), told_s, priors), SETTLED_S)


def _peer(scenario: Scenario, name: str, settings: Any, remembers_s: float) -> Contender:
    return Contender(scenario, competitors.peer(name, scenario, settings), remembers_s)


def _hybrid(scenario: Scenario, range_s: float) -> Contender:
    return Contender(scenario, One(Hybrid(HybridSettings(range_s=range_s, lead_s=scenario.variants[0].startup.median_s))), 30.0)


def _always_on(scenario: Scenario, knob: float) -> Contender:
    del knob
    variants = tuple(replace(variant, initial_replicas=1) for variant in scenario.variants)
    return Contender(replace(scenario, variants=variants), competitors.static(1), LONGEST_S)


class Rested(Jevons):
    """Jevons, with what its last decision implies: until when it holds if nobody calls.

    told_s: calls of another model of the namespace. priors: what all models of the zoo together showed of gaps, by `PRIOR_S` of the day; without them
    it has only its own.
    """

    def __init__(self, scenario: Scenario, settings: JevonsSettings, told_s: Sequence[float] = (), priors: Sequence[Gaps] = ()) -> None:
        super().__init__(scenario, settings)
        self._told_s, self._priors = list(told_s), priors
        self._left_out: list[float] = []
        self.sparse_s = 600.0 if not told_s else 45.0
        self._caller = replace(self.spec, key=CALLER, uid=CALLER.name, model=CALLER.name, scaling=ScalingSpec(ScalingMode.PAUSED))

    def snapshot(self, now: float, views: Mapping[str, View]) -> Snapshot:
        """The operator's, with what members of a zoo know of each other."""
        if self._left_out:
            self._memory = self._caught_up(now)
        seen, place = super().snapshot(now, views), bisect_right(self._told_s, now)
        prior = self._priors[min(len(self._priors) - 1, int(now // PRIOR_S))] if self._priors else ()
        seen = replace(seen, memory=replace(seen.memory, prior=prior, prior_at_s=EPOCH_S + now))
        if place:
            caller = DeploymentState(self._caller, {}, last_arrival_at_s=EPOCH_S + self._told_s[place - 1])
            seen = replace(seen, deployments={**seen.deployments, CALLER: caller})
        return seen

    def passes_over(self, at_s: Sequence[float]) -> None:
        """See `zoo_member.Resting`."""
        self._left_out += at_s

    def _caught_up(self, now: float) -> Memory:
        """The memory, with the gaps that passes left out before `now` would have seen."""
        memory = self._memory.deployments.get(KEY)
        if memory is None or memory.last_arrival_at_s is None:
            return self._memory
        gaps, last_s, at_s = memory.gaps, memory.last_arrival_at_s, self._inside.scenario.requests.at_s
        for passed_s in self._left_out:
            called_s = EPOCH_S + float(at_s[np.searchsorted(at_s, passed_s, "right") - 1])
            if passed_s < now and called_s > last_s:
                gaps, last_s = hazard.with_gap(gaps, called_s - last_s), called_s
        self._left_out.clear()
        return replace(self._memory, deployments={**self._memory.deployments, KEY: replace(memory, gaps=gaps, last_arrival_at_s=last_s)})

    def rests_until(self, now: float) -> float:
        """See `zoo_member.Resting`: what `core.moving` decides by. Not soon after work: what began between two scrapes is seen by the next one."""
        memory = self._memory.deployments.get(KEY)
        if memory is None or memory.last_arrival_at_s is None:
            return now
        worked_s = memory.variants[self.spec.variants[0].name].work_at_s
        if worked_s is None or max(worked_s, memory.last_arrival_at_s) > EPOCH_S + now - SEEN_S:
            return now
        found = self._warmth(memory, now)
        pods = self._inside.pods(0)
        held = found.sleeps and all(pod.asleep and not pod.waking for pod in pods) if any(pod.marked_s is not None for pod in pods) else found.loaded
        return min(found.until_s - EPOCH_S, self._next_told_s(now)) if held else now

    @property
    def wakes_s(self) -> float:
        """See `zoo_member.Waking`: when it will be started ahead of a call, or is told of another model's."""
        now, memory = self._passed_s, self._memory.deployments.get(KEY)
        if memory is None or memory.last_arrival_at_s is None:
            return self._next_told_s(now)
        found = self._warmth(memory, now)
        return now if found.loaded else min(found.until_s - EPOCH_S, self._next_told_s(now))

    def _warmth(self, memory: DeploymentMemory, now: float) -> Warmth:
        variant = self.spec.variants[0]
        seen = memory.variants[variant.name]
        startup_s = expected_s(seen.health, variant.startup_s)
        loss_s = cold_loss_s(self.spec.objectives.late_cost_usd, self._variants[0].usd_per_h, startup_s)
        last_s = memory.last_arrival_at_s
        if last_s is not None and seen.work_at_s is not None and seen.work_at_s > last_s + LONG_WORK_S:
            last_s = seen.work_at_s
        rest, resting = None, any(pod.marked_s is not None for pod in self._inside.pods(0))
        if variant.sleep is not None:
            wake = wake_s(seen.health, variant.sleep.wake_s)
            rest = tiers.rest(float(variant.sleep.holding), wake, self.spec.objectives, self._variants[0].usd_per_h)
        return warmth(startup_s, loss_s, memory.gaps, self._memory.prior, memory.callers, last_s, EPOCH_S + now, rest, resting=resting)

    def _next_told_s(self, now: float) -> float:
        """When something changes that it hears from elsewhere."""
        place = bisect_right(self._told_s, now)
        told_s = self._told_s[place] if place < len(self._told_s) else math.inf
        return min(told_s, (now // PRIOR_S + 1.0) * PRIOR_S) if self._priors else told_s


class Told:
    """Started when another model is called, and by calls; let go `keep_s` after the last of either."""

    def __init__(self, told_s: Sequence[float], keep_s: float) -> None:
        self.period_s = self.sample_s = 10.0
        self._told_s, self._keep_s = list(told_s), keep_s
        self._arrivals, self._last_s, self._now_s = 0, -math.inf, 0.0

    @property
    def wakes_s(self) -> float:
        """When it will be told next."""
        place = bisect_right(self._told_s, self._now_s)
        return self._told_s[place] if place < len(self._told_s) else math.inf

    def observe(self, sample: Sample) -> None:
        """Calls, and work under way."""
        if sample.arrivals > self._arrivals or sample.held or any(pod.running for pod in sample.pods):
            self._arrivals, self._last_s = sample.arrivals, sample.at_s

    def decide(self, now: float, view: View) -> int:
        """Loaded while anything was heard lately."""
        del view
        self._now_s, place = now, bisect_right(self._told_s, now)
        if place:
            self._last_s = max(self._last_s, self._told_s[place - 1])
        return int(now - self._last_s < self._keep_s)

    def wake(self, now: float, view: View) -> int:
        """A call."""
        self._last_s = now
        return max(view.replicas, 1)


class One:
    """A policy of one variant as a controller."""

    def __init__(self, policy: Hybrid | Told) -> None:
        self._policy = policy
        self.period_s, self.sample_s = policy.period_s, policy.sample_s

    @property
    def wakes_s(self) -> float:
        """See `zoo_member.Waking`."""
        return self._policy.wakes_s

    def observe(self, samples: Mapping[str, Sample]) -> None:
        """The policy's own."""
        for sample in samples.values():
            self._policy.observe(sample)

    def decide(self, now: float, views: Mapping[str, View]) -> dict[str, int]:
        """The policy's own."""
        return {name: self._policy.decide(now, view) for name, view in views.items()}

    def wake(self, now: float, views: Mapping[str, View]) -> dict[str, int]:
        """The policy's own."""
        return {name: self._policy.wake(now, view) for name, view in views.items()}
