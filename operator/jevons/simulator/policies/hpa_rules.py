"""How the Kubernetes HorizontalPodAutoscaler turns metrics into replicas, and how it keeps them from jumping.

Three kinds of metric give three formulas; a `Stabiliser` then applies the windows of past recommendations and the limits on change per period.
Source: kubernetes/kubernetes pkg/controller/podautoscaler (horizontal.go, replica_calculator.go), read at a fork's a769d58.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from jevons.simulator.policies.policy import whole


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far usage over target may be from 1 before anything changes."""

    up: float = 0.1
    down: float = 0.1

    def covers(self, ratio: float) -> bool:
        """Whether `ratio` is near enough to 1 to do nothing."""
        return 1.0 - self.down <= ratio <= 1.0 + self.up


def from_pods(values: Sequence[float], *, target: float, current: int, missing: int, unready: int, tolerance: Tolerance) -> int | None:
    """Replicas for a mean over pods (metric type Pods). None when no pod answered.

    values: of pods that answered. missing: pods that should have and did not; unready: pods that cannot yet. Both are assumed to be whatever
    makes the step smaller: missing ones at the target when load is low and idle when it is high, unready ones idle when it is high. At exactly the
    target nothing changes, as for CPU (the path for other metrics would count missing pods as idle there, and shrink).
    """
    if not values:
        return None
    total = math.fsum(values)
    ratio = total / (len(values) * target)
    counts_unready = unready > 0 and ratio > 1.0
    if not missing and not counts_unready:
        return current if tolerance.covers(ratio) else whole(ratio * len(values))
    pods = len(values) + missing + (unready if counts_unready else 0)
    assumed = total + (missing * target if ratio <= 1.0 else 0.0)
    cautious = assumed / (pods * target)
    if tolerance.covers(cautious) or (ratio - 1.0) * (cautious - 1.0) < 0:
        return current
    wanted = whole(cautious * pods)
    turned_round = wanted > current if cautious < 1.0 else wanted < current
    return current if turned_round else wanted


def from_value(total: float, *, target: float, current: int, ready: int, tolerance: Tolerance) -> int:
    """Replicas for one number about the whole workload (External or Object, `Value`): ready pods times usage over target."""
    ratio = total / target
    if current == 0:
        return whole(ratio)
    return current if tolerance.covers(ratio) else whole(ratio * ready)


def from_average(total: float, *, target: float, current: int, tolerance: Tolerance) -> int:
    """Replicas for a total to be shared (External, `AverageValue`): enough that each has `target` of it. current: `status.replicas`."""
    if current > 0 and tolerance.covers(total / (target * current)):
        return current
    return whole(total / target)


class Unit(StrEnum):
    """What a limit counts in."""

    PODS = "Pods"
    PERCENT = "Percent"


class Select(StrEnum):
    """Which of several limits holds: the one that allows most change, least change, or none at all."""

    MOST = "Max"
    LEAST = "Min"
    DISABLED = "Disabled"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `value` pods or percent of change within any `period_s`."""

    unit: Unit
    value: float
    period_s: float

    def highest(self, start: int) -> int:
        """The most replicas allowed when there were `start` at the beginning of the period."""
        return start + int(self.value) if self.unit is Unit.PODS else whole(start * (1.0 + self.value / 100.0))

    def lowest(self, start: int) -> int:
        """The fewest replicas allowed when there were `start` at the beginning of the period."""
        return start - int(self.value) if self.unit is Unit.PODS else int(start * (1.0 - self.value / 100.0))


@dataclass(frozen=True, slots=True)
class Behavior:
    """`spec.behavior`: windows of past recommendations and limits for either direction.

    An empty `up` is an object without `behavior`, for which the controller allows max(2 x replicas, 4). An empty `down` does not limit.
    """

    up: tuple[Limit, ...] = (Limit(Unit.PODS, 4, 15.0), Limit(Unit.PERCENT, 100, 15.0))
    down: tuple[Limit, ...] = (Limit(Unit.PERCENT, 100, 15.0),)
    up_select: Select = Select.MOST
    down_select: Select = Select.MOST
    up_window_s: float = 0.0
    down_window_s: float = 300.0


class Stabiliser:
    """Remembers recommendations and changes, and says how far towards the newest recommendation one may go now."""

    def __init__(self, behavior: Behavior, *, minimum: int, maximum: int) -> None:
        self._behavior = behavior
        self._minimum, self._maximum = minimum, maximum
        self._wanted: deque[tuple[float, int]] = deque()
        self._changes: deque[tuple[float, int]] = deque()
        self._longest_s = max((limit.period_s for limit in (*behavior.up, *behavior.down)), default=0.0)

    def next(self, now: float, current: int, wanted: int) -> int:
        """Replicas to set now, assumed to be set: the change counts towards later limits."""
        if not self._wanted:
            self._wanted.append((now, current))
        settled = self._settled(now, current, wanted)
        if settled > current:
            settled = min(settled, max(self._ceiling(now, current), current))
        elif settled < current:
            settled = max(settled, min(self._floor(now, current), current))
        settled = max(self._minimum, min(self._maximum, settled))
        if settled != current:
            self._changes.append((now, settled - current))
        return settled

    def _settled(self, now: float, current: int, wanted: int) -> int:
        """The nearest to `current` of what has been wanted within the windows."""
        ups = [count for at, count in self._wanted if at > now - self._behavior.up_window_s]
        downs = [count for at, count in self._wanted if at > now - self._behavior.down_window_s]
        self._wanted.append((now, wanted))
        while self._wanted[0][0] < now - max(self._behavior.up_window_s, self._behavior.down_window_s):
            self._wanted.popleft()
        up, down = min([wanted, *ups]), max([wanted, *downs])
        if up > current:
            return up
        return min(down, current)

    def _start(self, now: float, current: int, period_s: float) -> int:
        """Replicas at the beginning of the period that ends now."""
        while self._changes and self._changes[0][0] <= now - self._longest_s:
            self._changes.popleft()
        return current - sum(change for at, change in self._changes if at > now - period_s)

    def _ceiling(self, now: float, current: int) -> int:
        if self._behavior.up_select is Select.DISABLED:
            return current
        if not self._behavior.up:
            return max(2 * current, 4)
        allowed = [limit.highest(self._start(now, current, limit.period_s)) for limit in self._behavior.up]
        return max(allowed) if self._behavior.up_select is Select.MOST else min(allowed)

    def _floor(self, now: float, current: int) -> int:
        if self._behavior.down_select is Select.DISABLED:
            return current
        if not self._behavior.down:
            return 0
        allowed = [limit.lowest(self._start(now, current, limit.period_s)) for limit in self._behavior.down]
        return min(allowed) if self._behavior.down_select is Select.MOST else max(allowed)
