"""The rule of Knative's pod autoscaler: two averages of concurrency, one calm and one alarmed.

The calm one, over the stable window, sets the size. When the alarmed one, over a tenth of it, asks for twice the ready replicas or more, the scaler
panics: it only grows until a whole stable window has passed without alarm.
Source: knative/serving 98e5ef9 (2026-08-21), pkg/autoscaler/scaling/autoscaler.go.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scaled:
    """Replicas `wanted`, and the burst that the ready ones could take beyond the target burst capacity; below 0 the activator stays in the path."""

    wanted: int
    spare_burst: int


@dataclass(frozen=True, slots=True)
class Rates:
    """The constants of the rule. target: concurrency per replica aimed at; total: what a replica could take. Both above 0."""

    target: float
    total: float
    burst_capacity: float = 211.0
    stable_s: float = 60.0
    panic_threshold: float = 2.0
    up: float = 1000.0
    down: float = 2.0
    activation_scale: int = 1
    down_delay_s: float = 0.0
    reachable: bool = True


class Scaler:
    """The rule's memory: since when it panics, the most it has wanted meanwhile, and what it wanted within the scale-down delay."""

    def __init__(self, rates: Rates, *, panic_since_s: float | None = None, most_in_panic: int = 0) -> None:
        self._rates = rates
        self.panic_since_s = panic_since_s
        self._most_in_panic = most_in_panic
        self._recent: deque[tuple[float, int]] = deque()

    def scale(self, now: float, *, ready: int, stable: float, panic: float) -> Scaled:
        """One tick with `ready` replicas and concurrency `stable` and `panic`, averages over the windows of the sum over all replicas."""
        rates = self._rates
        base = max(1, ready)
        calm, alarmed = math.ceil(stable / rates.target), math.ceil(panic / rates.target)
        self._alarm(now, over=alarmed / base >= rates.panic_threshold)
        wanted = self._within(calm, base)
        if self.panic_since_s is not None:
            self._most_in_panic = max(self._most_in_panic, wanted, self._within(alarmed, base))
            wanted = self._most_in_panic
        return Scaled(self._delayed(now, wanted), self._spare(ready, panic))

    def _within(self, wanted: int, base: int) -> int:
        """`wanted` inside the rates of change, and not below the activation scale when there is any load."""
        lowest = math.floor(base / self._rates.down) if self._rates.reachable else 0
        limited = min(max(wanted, lowest), math.ceil(self._rates.up * base))
        return max(limited, self._rates.activation_scale) if wanted > 0 and self._rates.activation_scale > 1 else limited

    def _alarm(self, now: float, *, over: bool) -> None:
        if over:
            self.panic_since_s = now
        elif self.panic_since_s is not None and self.panic_since_s + self._rates.stable_s < now:
            self.panic_since_s, self._most_in_panic = None, 0

    def _delayed(self, now: float, wanted: int) -> int:
        if not self._rates.reachable or self._rates.down_delay_s <= 0:
            return wanted
        self._recent.append((now, wanted))
        while self._recent[0][0] <= now - self._rates.down_delay_s:
            self._recent.popleft()
        return max(count for _, count in self._recent)

    def _spare(self, ready: int, panic: float) -> int:
        capacity = self._rates.burst_capacity
        if capacity == 0:
            return 0
        return -1 if capacity < 0 else math.floor(ready * self._rates.total - capacity - panic)
