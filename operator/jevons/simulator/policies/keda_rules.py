"""What KEDA adds around the HorizontalPodAutoscaler: zero to one and back, and a stand-in for a metric that cannot be read.

Source: kedacore/keda 8b4f083 (2026-08-20), pkg/scaling/executor/scale_scaledobjects.go and pkg/fallback/fallback.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Behavior(StrEnum):
    """How many replicas the stand-in metric is made for."""

    STATIC = "static"
    CURRENT = "currentReplicas"
    HIGHER = "currentReplicasIfHigher"
    LOWER = "currentReplicasIfLower"


@dataclass(frozen=True, slots=True)
class Fallback:
    """After more than `failure_threshold` failures in a row the metric is taken to be what `replicas` replicas would have at target.

    A query that succeeds and finds nothing is not a failure. Example: target 10 and 10 replicas give 100.
    """

    replicas: int
    failure_threshold: int = 3
    behavior: Behavior = Behavior.STATIC

    def metric(self, target: float, *, current: int) -> float:
        """The stand-in total for a target per replica, with `current` replicas running."""
        count = {
            Behavior.STATIC: self.replicas,
            Behavior.CURRENT: current,
            Behavior.HIGHER: max(current, self.replicas),
            Behavior.LOWER: min(current, self.replicas),
        }[self.behavior]
        return target * count


class ZeroOne:
    """The loop of the operator itself: it wakes, idles and puts to sleep, and leaves everything in between to the HPA.

    idle: `idleReplicaCount`, None when not given. created_s: when the ScaledObject was made.
    """

    def __init__(
        self, *, minimum: int = 0, idle: int | None = None, cooldown_s: float = 300.0, initial_cooldown_s: float = 0.0, created_s: float = 0.0
    ) -> None:
        self._minimum, self._idle, self._cooldown_s = minimum, idle, cooldown_s
        self._first_sleep_s = created_s + initial_cooldown_s
        self._last_active_s: float | None = None

    def step(self, now: float, current: int, *, active: bool, error: bool = False, fallback: Fallback | None = None) -> int:
        """Replicas after one poll in which some trigger was `active`, or some could not be read (`error`).

        With a fallback of zero replicas an unreadable trigger counts as an idle one, and the workload can go to zero because of it.
        """
        if active:
            return self._awake(now, current, error=error)
        if error and (fallback is None or fallback.replicas != 0):
            return current
        resting = self._minimum if self._idle is None else self._idle
        may_rest = current > self._idle if self._idle is not None else current > 0 and self._minimum == 0
        if may_rest:
            return resting if self._cooled_down(now) else current
        return max(current, self._minimum) if self._idle is None else current

    def _awake(self, now: float, current: int, *, error: bool) -> int:
        starts = current == 0 or (self._idle is not None and current < self._minimum)
        if starts or not error:
            self._last_active_s = now
        return max(1, self._minimum) if starts else current

    def _cooled_down(self, now: float) -> bool:
        since_s = self._first_sleep_s if self._last_active_s is None else self._last_active_s + self._cooldown_s
        return since_s < now
