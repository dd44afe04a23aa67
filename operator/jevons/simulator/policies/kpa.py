"""Knative Serving's pod autoscaler (KPA), with its activator and its way to zero.

Concurrency is measured every second in each replica, and by the activator for what it holds; sizes are decided every two seconds by `kpa_rules`. No
data means no decision. At zero the activator holds requests and pokes the autoscaler at once. To go to zero the revision must have been active for a
stable window, is then marked inactive, and keeps its replicas for a grace period. We measure all replicas where Knative samples some (3 of 3, 16 of
many): that is kind to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from jevons.simulator.policies.grid import Grid, axis
from jevons.simulator.policies.kpa_rules import Rates, Scaler
from jevons.simulator.policies.policy import Sample, Signal, View, clamped
from jevons.simulator.policies.windows import Buckets


@dataclass(frozen=True, slots=True)
class KpaSettings:
    """Defaults: knative/serving 98e5ef9 (2026-08-21), pkg/autoscaler/config/config.go and config/core/configmaps/autoscaler.yaml."""

    concurrency: float = 100.0
    """`container-concurrency-target-default`: requests in flight that a replica should take."""
    utilization: float = 0.7
    """`container-concurrency-target-percentage`."""
    burst_capacity: float = 211.0
    """`target-burst-capacity`."""
    stable_s: float = 60.0
    """`stable-window`."""
    panic_share: float = 0.1
    """`panic-window-percentage`."""
    panic_threshold: float = 2.0
    """`panic-threshold-percentage`."""
    up_rate: float = 1000.0
    """`max-scale-up-rate`."""
    down_rate: float = 2.0
    """`max-scale-down-rate`."""
    activation_scale: int = 1
    down_delay_s: float = 0.0
    """`scale-down-delay`."""
    scale_to_zero: bool = True
    """`enable-scale-to-zero`."""
    grace_s: float = 30.0
    """`scale-to-zero-grace-period`."""
    retention_s: float = 0.0
    """`scale-to-zero-pod-retention-period`."""
    activation_timeout_s: float = 630.0
    """Progress deadline 600 s, and 30 s: a start that takes longer has failed."""
    minimum: int = 0
    maximum: int | None = None
    """`max-scale` 0: unlimited."""
    tick_s: float = 2.0
    scrape_s: float = 1.0

    @property
    def target(self) -> float:
        """Requests in flight per replica that it aims at; never below 0.01."""
        return max(0.01, self.concurrency * self.utilization)

    @property
    def rates(self) -> Rates:
        """The constants of the rule."""
        return Rates(
            target=self.target,
            total=self.concurrency,
            burst_capacity=self.burst_capacity,
            stable_s=self.stable_s,
            panic_threshold=self.panic_threshold,
            up=self.up_rate,
            down=self.down_rate,
            activation_scale=self.activation_scale,
            down_delay_s=self.down_delay_s,
        )


GRID = Grid(
    (
        axis("concurrency", 6.0, 12.0, 24.0, 48.0, 100.0),
        axis("stable_s", 60.0, 300.0),
        axis("panic_threshold", 1.5, 2.0, 10.0),
        axis("minimum", 0, 1, 2),
        axis("down_delay_s", 0.0, 300.0),
    ),
    "concurrency",
)


class Kpa:
    """The state of one revision's autoscaler."""

    def __init__(self, settings: KpaSettings) -> None:
        self.settings = settings
        self.period_s, self.sample_s = settings.tick_s, settings.scrape_s
        self._stable = Buckets(settings.stable_s)
        self._panic = Buckets(max(1.0, settings.stable_s * settings.panic_share))
        self._scaler: Scaler | None = None
        self._failing = True
        self._active_since_s: float | None = None
        self._idle_since_s: float | None = None
        self._activating_since_s: float | None = None

    def observe(self, sample: Sample) -> None:
        """A second's scrape. Without replicas and without held requests there is nothing to report, which is not a failure."""
        self._failing = sample.failed
        total = sample.total(Signal.IN_FLIGHT, held=True)
        if sample.failed or total is None or not (sample.pods or sample.held):
            return
        self._stable.add(sample.at_s, total)
        self._panic.add(sample.at_s, total)

    def decide(self, now: float, view: View) -> int:
        """One tick."""
        if self._scaler is None:
            # History is lost at a restart, so it starts in panic rather than let go of what runs.
            several = view.ready > 1
            self._scaler = Scaler(self.settings.rates, panic_since_s=now if several else None, most_in_panic=view.ready)
        self._note_state(now, view)
        stable = self._stable.mean(now)
        if stable is None and self._failing:
            return view.replicas
        wanted = self._scaler.scale(now, ready=view.ready, stable=stable or 0.0, panic=self._panic.mean(now) or 0.0).wanted
        wanted = clamped(wanted, self.settings.minimum, self.settings.maximum)
        if wanted > 0:
            self._idle_since_s = None
            return wanted
        return self._towards_zero(now, view)

    def wake(self, now: float, view: View) -> int:
        """The activator holds the request and pokes the autoscaler; show it the held request (`observe`) first."""
        return self.decide(now, view)

    def _note_state(self, now: float, view: View) -> None:
        """Active once a replica is ready, activating while replicas are wanted and none is."""
        if view.ready > 0:
            self._activating_since_s = None
            if self._active_since_s is None:
                self._active_since_s = now
        else:
            self._active_since_s = None
            if view.replicas == 0:
                self._activating_since_s = None
            elif self._activating_since_s is None:
                self._activating_since_s = now

    def _towards_zero(self, now: float, view: View) -> int:
        if view.replicas == 0:
            return 0
        if not self.settings.scale_to_zero:
            return 1
        if self._active_since_s is None:
            starting_s = now - (self._activating_since_s if self._activating_since_s is not None else now)
            return 0 if starting_s >= self.settings.activation_timeout_s else view.replicas
        if self._idle_since_s is None:
            if now - self._active_since_s < self.settings.stable_s:
                return 1
            self._idle_since_s = now
        if now - self._idle_since_s >= max(self.settings.grace_s, self.settings.retention_s):
            return 0
        return view.replicas
