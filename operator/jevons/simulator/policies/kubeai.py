"""KubeAI's model autoscaler: requests in flight at its own proxy, averaged over ten minutes, divided by a target.

The long average makes it slow to rise (from nothing to 400 requests at a target of 100, the fourth replica comes after 460 s). The window begins full
of zeros. Being the proxy, it counts requests that it holds, needs no Prometheus, and can start the first replica the moment a request arrives.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from jevons.simulator.policies.grid import Grid, axis
from jevons.simulator.policies.policy import Sample, Signal, View, clamped


@dataclass(frozen=True, slots=True)
class KubeaiSettings:
    """Defaults: substratusai/kubeai 2f32ef4 (2025-07-07), internal/config/system.go and api/k8s/v1/model_types.go."""

    target: float = 100.0
    """`targetRequests` per replica."""
    minimum: int = 0
    maximum: int | None = None
    interval_s: float = 10.0
    window_s: float = 600.0
    down_delay_s: float = 30.0
    """`scaleDownDelaySeconds`: as many earlier ticks in a row must have wanted fewer."""


GRID = Grid(
    (
        axis("target", 4.0, 8.0, 16.0, 32.0, 64.0, 100.0),
        axis("window_s", 30.0, 120.0, 600.0),
        axis("minimum", 0, 1, 2),
        axis("down_delay_s", 30.0, 120.0, 600.0),
    ),
    "target",
)


class Kubeai:
    """The autoscaler's state for one Model."""

    def __init__(self, settings: KubeaiSettings) -> None:
        self.settings = settings
        self.period_s = self.sample_s = settings.interval_s
        ticks = math.ceil(settings.window_s / settings.interval_s)
        self._active: deque[float] = deque([0.0] * ticks, maxlen=ticks)
        self._now_active: float | None = None
        self._downs = 0

    def observe(self, sample: Sample) -> None:
        """The proxies have been asked for their requests in flight."""
        self._now_active = None if sample.failed else sample.total(Signal.IN_FLIGHT, held=True)

    def decide(self, now: float, view: View) -> int:
        """One tick; left out when the proxies have not answered. A step down does not reset the count, so that the next may follow at once."""
        del now
        if self._now_active is None:
            return view.replicas
        self._active.append(self._now_active)
        mean = math.fsum(self._active) / len(self._active)
        wanted = clamped(math.ceil(mean / self.settings.target), self.settings.minimum, self.settings.maximum)
        if wanted >= view.replicas:
            self._downs = 0
            return wanted
        if self._downs < math.ceil(self.settings.down_delay_s / self.settings.interval_s):
            self._downs += 1
            return view.replicas
        return wanted

    def wake(self, now: float, view: View) -> int:
        """The proxy asks for one replica before it forwards, and holds the request."""
        del now
        return max(view.replicas, 1)
