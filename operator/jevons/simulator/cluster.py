"""Pods between a replica count and accelerators: what Kubernetes, its nodes and a slow image pull make of "five replicas, please".

A replica that is wanted becomes a pod after `actuation_s`, waits for room (`nodes.py`), is scheduled (from then on it costs money), loads for a time
drawn from `Startup` and is ready, or never is. One that is wanted no longer drains: it takes nothing new and is gone when empty, or cut off. Which
pods go first is what a ReplicaSet does: without a node, then not ready, then those its owner has marked, then the newest ready.

Chance is common to all who compete: the n-th start of a variant takes equally long, and fails or not, whoever asked for it and when, because each pod
has a random stream of its own.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from jevons.simulator.fleet import Fleet
from jevons.simulator.homes import Homes, Place
from jevons.simulator.nodes import Nodes
from jevons.simulator.policies.policy import View
from jevons.simulator.scenario import HostMemory, Scenario, SimVariant
from jevons.simulator.shocks import Shock

LOOK_S = 1.0
"""How often a draining pod is looked at; it is paid for until it was empty."""
STARTING, SERVING, DRAINED, RESTING, WAKING = range(5)


@dataclass(slots=True, eq=False)
class Pod:
    """One replica's pod, from created to gone. Times in seconds from the scenario's start; None = not yet."""

    name: str
    variant: int
    ordinal: int
    """How many pods of the variant were created before it; initial ones are counted apart."""
    created_s: float
    chance: np.random.Generator
    scheduled_s: float | None = None
    ready_s: float | None = None
    leaving_s: float | None = None
    gone_s: float | None = None
    failed: bool = False
    """Its start has failed: it crashes again and again until somebody removes it."""
    slot: int | None = None
    """Its replica in the fleet while it is ready or drains."""
    series: str = ""
    """Under which name its engine is found in scrapes, since it was last ready."""
    life: int = 0
    """Raised whenever what was planned for it no longer holds."""
    ordered: bool = False
    marked_s: float | None = None
    """Since when it is put to sleep in host memory: it takes nothing new."""
    asleep: bool = False
    waking: bool = False
    place: Place | None = None
    """Where it runs, as far as nodes are told apart."""

    @property
    def ready(self) -> bool:
        """Serves, and is neither on its way out nor put to sleep."""
        return self.ready_s is not None and self.leaving_s is None and self.marked_s is None

    def startup_s(self, variant: SimVariant) -> tuple[float, bool]:
        """The next draw: seconds from scheduled to ready, and whether this start fails."""
        spread, luck = self.chance.standard_normal(), self.chance.random()
        home_s = variant.startup.home_s if self.place is not None and variant.name in self.place.weights else None
        return (variant.startup.median_s if home_s is None else home_s) * math.exp(variant.startup.sigma * spread), bool(luck < variant.startup.fails)

    def wake_s(self, sleep: HostMemory) -> float:
        """The next draw: seconds that waking takes."""
        return sleep.wake_s * math.exp(sleep.sigma * self.chance.standard_normal())

    def until(self, per_h: float) -> float:
        """The next draw of a Poisson process [s]; infinite for a rate of 0. The stream moves on by one either way."""
        draw = self.chance.exponential()
        return float(draw) * 3600.0 / per_h if per_h > 0 else math.inf


@dataclass(slots=True)
class Bill:
    """What pods held, as stretches of time: (variant, STARTING | SERVING | DRAINED | RESTING | WAKING, from, to)."""

    stretches: list[tuple[int, int, float, float]] = field(default_factory=list)
    holding: tuple[float, ...] = ()
    """By variant: the share of its price that a replica asleep in host memory costs."""

    def seconds(self, start_s: float, end_s: float) -> Counter[tuple[int, int]]:
        """Replica-seconds inside [start_s, end_s] by variant and kind."""
        total: Counter[tuple[int, int]] = Counter()
        for variant, kind, begin, end in self.stretches:
            total[variant, kind] += max(0.0, min(end, end_s) - max(begin, start_s))  # type: ignore[assignment]  # a counter of seconds
        return total

    def paid(self, start_s: float, end_s: float) -> Counter[tuple[int, int]]:
        """The same, those asleep in host memory weighed by their share."""
        total = self.seconds(start_s, end_s)
        for index, kind in total:
            if kind == RESTING:
                total[index, kind] *= self.holding[index]  # type: ignore[assignment]  # a counter of seconds
        return total


class Cluster:
    """All pods of a scenario, and the fleet's replicas behind those that serve.

    Call `step(now)` at each `next_s`, with the fleet advanced to it. `turns` counts what others may want to know: pods that became ready or stopped
    serving; `readied` those that became ready.
    """

    def __init__(self, scenario: Scenario, fleet: Fleet) -> None:
        self._scenario, self._fleet, self.nodes = scenario, fleet, Nodes(scenario)
        self._homes = Homes(scenario.node_keeps_s, scenario.seed)
        self.bill = Bill(holding=tuple([variant.sleep.holding if variant.sleep is not None else 1.0 for variant in scenario.variants]))
        self.wanted = [variant.initial_replicas for variant in scenario.variants]
        self.scale_events = self.failed_starts = self.turns = self.readied = 0
        self.victims: list[frozenset[str]] = [frozenset() for _ in scenario.variants]
        """Pods that a controller has marked to go first, by variant."""
        self._pods: list[list[Pod]] = [[] for _ in scenario.variants]
        self._starts = [0 for _ in scenario.variants]
        self._agenda: list[tuple[float, int, Callable[[float], None]]] = []
        self._entries = 0
        self._since: dict[Pod, tuple[int, float]] = {}
        for index, variant in enumerate(scenario.variants):
            for ordinal in range(variant.initial_replicas):
                self._initial(index, ordinal)
        for shock in scenario.shocks:
            if shock.left < 1.0:
                self._plan(shock.at_s, lambda now, shock=shock: self._vanish(shock, now))  # type: ignore[misc]

    @property
    def next_s(self) -> float:
        """When something happens next; infinite when nothing is planned."""
        return self._agenda[0][0] if self._agenda else math.inf

    def step(self, now: float) -> None:
        """Everything that is due at `now`."""
        while self._agenda and self._agenda[0][0] <= now:
            heapq.heappop(self._agenda)[2](now)

    def want(self, index: int, replicas: int, now: float) -> None:
        """Set the replica count of a variant, inside the variant's bounds."""
        variant = self._scenario.variants[index]
        replicas = min(max(replicas, variant.min_replicas), variant.max_replicas)
        if replicas != self.wanted[index]:
            self.wanted[index] = replicas
            self.scale_events += now >= self._scenario.burn_in_s
            self._plan(now + self._scenario.actuation_s, lambda at_s: self._reconcile(index, at_s))

    def rest(self, index: int, names: frozenset[str], now: float) -> None:
        """Put these pods of a variant to sleep in host memory, and wake all others that sleep."""
        sleep = self._scenario.variants[index].sleep
        for pod in self._pods[index]:
            if sleep is None or pod.leaving_s is not None or pod.ready_s is None:
                continue
            if pod.name in names and pod.slot is not None and pod.marked_s is None:
                pod.marked_s = now
                self.turns += 1
                self._fleet.drain(pod.slot, now)
                self._lie(pod, now)
            elif pod.name not in names and pod.marked_s is not None and not pod.waking:
                pod.waking = True
                if pod.asleep:
                    self._charge(pod, WAKING, now)
                self._plan_for(pod, now + (pod.wake_s(sleep) if pod.asleep else 0.0), self._awake)

    def rests(self, index: int) -> bool:
        """Whether a variant has pods, and all of them sleep."""
        staying = [pod for pod in self._pods[index] if pod.leaving_s is None]
        return bool(staying) and all(pod.marked_s is not None for pod in staying)

    def pods(self, index: int) -> list[Pod]:
        """The pods of a variant that exist, the leaving ones included, oldest first."""
        return self._pods[index]

    def view(self, index: int) -> View:
        """What the API server says of a variant."""
        ready = starting = pending = 0
        for pod in self._pods[index]:
            if pod.leaving_s is None:
                if pod.scheduled_s is None:
                    pending += 1
                elif pod.ready_s is None:
                    starting += 1
                elif pod.ready:
                    ready += 1
        return View(self.wanted[index], ready, starting, pending)

    def close(self, end_s: float) -> Bill:
        """The bill of everything, with what still runs billed until `end_s`."""
        for pod in list(self._since):
            self._charge(pod, None, end_s)
        return self.bill

    def _plan(self, at_s: float, action: Callable[[float], None]) -> None:
        self._entries += 1
        heapq.heappush(self._agenda, (at_s, self._entries, action))

    def _plan_for(self, pod: Pod, at_s: float, action: Callable[[Pod, float], None]) -> None:
        """`action` at that time, unless the pod's life has taken another turn by then."""
        life = pod.life
        if math.isfinite(at_s):
            self._plan(at_s, lambda now: action(pod, now) if pod.life == life else None)

    def _charge(self, pod: Pod, kind: int | None, now: float) -> None:
        """End the stretch that the pod is in, and begin one of `kind` (None = it costs nothing from now on)."""
        if pod in self._since:
            before, since_s = self._since.pop(pod)
            self.bill.stretches.append((pod.variant, before, since_s, now))
        if kind is not None:
            self._since[pod] = (kind, now)

    def _new(self, index: int, ordinal: int, *, initial: bool, now: float) -> Pod:
        chance = np.random.default_rng((self._scenario.seed, index, int(initial), ordinal))
        name = f"{self._scenario.variants[index].name}-{'initial-' if initial else ''}{ordinal}"
        pod = Pod(name, index, ordinal, now, chance)
        self._pods[index].append(pod)
        return pod

    def _initial(self, index: int, ordinal: int) -> None:
        pod = self._new(index, ordinal, initial=True, now=0.0)
        pod.scheduled_s = 0.0
        self._plan_for(pod, pod.until(self._scenario.variants[index].reclaim_per_h), self._reclaim)
        self._ready(pod, 0.0)

    def _reconcile(self, index: int, now: float) -> None:
        """Create what is missing, remove what is too much: by the count that is wanted now."""
        pods = [pod for pod in self._pods[index] if pod.leaving_s is None]
        for _ in range(self.wanted[index] - len(pods)):
            pod = self._new(index, self._starts[index], initial=False, now=now)
            self._starts[index] += 1
            self._place([pod], now)
        surplus = len(pods) - self.wanted[index]
        if surplus > 0:
            marked = self.victims[index]
            for pod in sorted(pods, key=lambda pod: _rank(pod, pod.name in marked))[:surplus]:
                self._leave(pod, now)

    def _place(self, pods: Iterable[Pod], now: float) -> None:
        """Schedule those for which there is room; the others wait, for a node of their own where one can be had."""
        for pod in pods:
            variant = self._scenario.variants[pod.variant]
            if self.nodes.take(variant):
                pod.scheduled_s = now
                pod.place = self._homes.enter(variant, now) if variant.startup.home_s is not None else None
                self._load(pod, now)
            elif not pod.ordered and self.nodes.order(variant):
                pod.ordered = True
                self._plan(now + self.nodes.provisioning_s, lambda at_s, variant=variant: self._node(variant, at_s))  # type: ignore[misc]

    def _node(self, variant: SimVariant, now: float) -> None:
        self.nodes.arrive(variant)
        self._place_waiting(now)

    def _place_waiting(self, now: float) -> None:
        waiting = [pod for pods in self._pods for pod in pods if pod.scheduled_s is None and pod.leaving_s is None]
        self._place(sorted(waiting, key=lambda pod: (pod.created_s, pod.variant, pod.ordinal)), now)

    def _load(self, pod: Pod, now: float) -> None:
        self._charge(pod, STARTING, now)
        variant = self._scenario.variants[pod.variant]
        seconds, fails = pod.startup_s(variant)
        self._plan_for(pod, now + seconds, self._fail if fails else self._ready)
        self._plan_for(pod, now + pod.until(variant.reclaim_per_h), self._reclaim)

    def _fail(self, pod: Pod, now: float) -> None:
        pod.failed = True
        self.failed_starts += now >= self._scenario.burn_in_s

    def _ready(self, pod: Pod, now: float) -> None:
        if pod.place is not None:
            pod.place.weights.add(self._scenario.variants[pod.variant].name)
        pod.ready_s, pod.slot = now, self._fleet.ready(pod.variant, now)
        pod.series = self._fleet.pod(pod.slot)
        self._charge(pod, SERVING, now)
        self.turns += 1
        self.readied += 1
        self._plan_for(pod, now + pod.until(self._scenario.variants[pod.variant].crash_per_h), self._crash)

    def _lie(self, pod: Pod, now: float) -> None:
        """Once it is empty, its weights move to host memory."""
        if pod.waking or pod.asleep or pod.leaving_s is not None or pod.marked_s is None:
            return
        sleep = self._scenario.variants[pod.variant].sleep
        if pod.slot is not None and not self._fleet.gone(pod.slot):
            self._plan_for(pod, now + LOOK_S, self._lie)
        elif pod.slot is not None:
            pod.slot = None
            self._plan_for(pod, now + (sleep.lie_s if sleep is not None else 0.0), self._lie)
        else:
            pod.asleep = True
            self._charge(pod, RESTING, now)

    def _awake(self, pod: Pod, now: float) -> None:
        """It takes requests again, as soon as what it still had when it was put to sleep is done."""
        if pod.leaving_s is not None or not pod.waking:
            return
        if pod.slot is not None and not self._fleet.gone(pod.slot):
            self._plan_for(pod, now + LOOK_S, self._awake)
            return
        pod.marked_s, pod.asleep, pod.waking = None, False, False
        pod.slot = self._fleet.ready(pod.variant, now)
        pod.series = self._fleet.pod(pod.slot)
        self._charge(pod, SERVING, now)
        self.turns += 1
        self.readied += 1

    def _crash(self, pod: Pod, now: float) -> None:
        """The engine died: its requests go elsewhere, and it loads again in the same pod, which stays paid for."""
        self._lose(pod, now, retry=True)
        if pod.leaving_s is not None:
            self._gone(pod, now)
            return
        pod.life += 1
        pod.ready_s, pod.marked_s, pod.asleep, pod.waking = None, None, False, False
        self._load(pod, now)

    def _reclaim(self, pod: Pod, now: float, *, with_node: bool = True) -> None:
        """The spot node was taken away; the ReplicaSet makes another pod. `with_node`: it is no longer counted among those that exist."""
        if pod.slot is not None:
            self._lose(pod, now, retry=True)
        replaced = pod.leaving_s is None
        self._gone(pod, now, node_lost=with_node)
        if replaced:
            self._plan(now + self._scenario.actuation_s, lambda at_s: self._reconcile(pod.variant, at_s))

    def _vanish(self, shock: Shock, now: float) -> None:
        """A zone is gone, with the oldest pods; it comes back when the shock ends."""
        name, variants = shock.accelerator, self._scenario.variants
        before = self.nodes.shrink(name, shock.left)
        holding = [pod for pods in self._pods for pod in pods if pod.scheduled_s is not None and variants[pod.variant].accelerator == name]
        for pod in sorted(holding, key=lambda pod: (pod.created_s, pod.variant, pod.ordinal)):
            if self.nodes.taken(name) > self.nodes.bound(name):
                self._reclaim(pod, now, with_node=False)
        if math.isfinite(shock.until_s):
            self._plan(shock.until_s, lambda at_s: self._back(name, before, at_s))

    def _back(self, accelerator: str, before: Mapping[str, float], now: float) -> None:
        self.nodes.restore(accelerator, before)
        self._place_waiting(now)

    def _lose(self, pod: Pod, now: float, *, retry: bool) -> None:
        if pod.slot is not None:
            self._fleet.kill(pod.slot, now, retry)
            pod.slot = None
            self.turns += 1

    def _leave(self, pod: Pod, now: float) -> None:
        pod.leaving_s = now
        if pod.slot is None:
            self._gone(pod, now)
            return
        self.turns += 1
        if pod.marked_s is None:
            self._fleet.drain(pod.slot, now)
        self._charge(pod, DRAINED, now)
        self._look(pod, now)

    def _look(self, pod: Pod, now: float) -> None:
        """Is it empty by now?"""
        if pod.slot is None or pod.leaving_s is None:
            return
        if self._fleet.gone(pod.slot):
            empty_s, pod.slot = self._fleet.gone_s(pod.slot), None
            self._gone(pod, now, until_s=max(pod.leaving_s, empty_s))
        elif now - pod.leaving_s >= self._scenario.drain_limit_s:
            self._lose(pod, now, retry=False)
            self._gone(pod, now)
        else:
            self._plan_for(pod, min(now + LOOK_S, pod.leaving_s + self._scenario.drain_limit_s), self._look)

    def _gone(self, pod: Pod, now: float, *, until_s: float | None = None, node_lost: bool = False) -> None:
        """It no longer exists; paid for until `until_s`, when that was a moment ago."""
        pod.life += 1
        pod.gone_s = now if until_s is None else until_s
        self._pods[pod.variant].remove(pod)
        self._charge(pod, None, pod.gone_s)
        if pod.scheduled_s is not None:
            self.nodes.give(self._scenario.variants[pod.variant], node_lost=node_lost)
            if pod.place is not None:
                self._homes.leave(pod.place, now, lost=node_lost)
            self._place_waiting(now)


def _rank(pod: Pod, marked: bool) -> tuple[bool, bool, bool, float, bool, float, int]:
    """Order in which a ReplicaSet deletes (kubernetes pkg/controller ActivePodsWithRanks): the smallest first."""
    return (pod.scheduled_s is not None, pod.ready_s is not None, not marked, -(pod.ready_s or 0.0), not pod.failed, -pod.created_s, -pod.ordinal)
