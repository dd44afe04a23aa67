"""KEDA: a poll that wakes and puts to sleep, and between one and many the HorizontalPodAutoscaler on the same query.

The query goes to Prometheus. An empty answer (no pods, a renamed metric, a restarted exporter) is worth 0 with KEDA's defaults, so that missing
metrics look like an idle model and, after the cooldown, take it to zero. A query that fails leaves things as they are, or goes to the fallback. KEDA
holds no requests: arrivals at zero replicas are seen only by what stands in front, at the next poll.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from jevons.simulator.policies.grid import SIGNAL_AND_TARGET, Grid, axis
from jevons.simulator.policies.hpa import QUICK, Hpa, HpaSettings, Metric
from jevons.simulator.policies.hpa_rules import Behavior, Tolerance, from_average
from jevons.simulator.policies.keda_rules import Fallback, ZeroOne
from jevons.simulator.policies.policy import Sample, Signal, View


@dataclass(frozen=True, slots=True)
class KedaSettings:
    """Defaults: kedacore/keda 8b4f083 (2026-08-20), apis/keda/v1alpha1/scaledobject_types.go and pkg/scalers/prometheus_scaler.go.

    Triggers have no defaults in KEDA. Ours are those of vLLM's production-stack: waiting requests at 5, and a second trigger that keeps one replica
    while requests arrive at the router (`keep_alive`).
    """

    signal: Signal = Signal.WAITING
    target: float = 5.0
    """`threshold`, per replica."""
    activation: float = 0.0
    """`activationThreshold`: active means strictly above."""
    keep_alive: bool = True
    sees_held: bool = False
    """Whether the query counts requests held in front of the pods (with a gateway that has such a metric)."""
    ignore_null: bool = True
    """`ignoreNullValues`."""
    minimum: int = 0
    """`minReplicaCount`."""
    maximum: int = 100
    """`maxReplicaCount`."""
    idle: int | None = None
    """`idleReplicaCount`."""
    polling_s: float = 30.0
    """`pollingInterval`."""
    cooldown_s: float = 300.0
    """`cooldownPeriod`."""
    initial_cooldown_s: float = 0.0
    fallback: Fallback | None = None
    behavior: Behavior = field(default_factory=Behavior)
    """`advanced.horizontalPodAutoscalerConfig.behavior`; the HPA's own default when not given."""
    tolerance: Tolerance = field(default_factory=Tolerance)
    sync_s: float = 15.0
    """The HPA's."""
    scrape_s: float = 15.0
    """Of Prometheus. Not KEDA's: a common choice."""
    stale_s: float = 300.0
    """Prometheus' lookback."""


GRID = Grid((SIGNAL_AND_TARGET, axis("minimum", 0, 1, 2), axis("cooldown_s", 60.0, 300.0), axis("behavior", Behavior(), QUICK)), "target")

_ARRIVING_WINDOW_S = 60.0


class Keda:
    """The state of one ScaledObject and of the HPA that it generates."""

    def __init__(self, settings: KedaSettings, *, created_s: float = 0.0) -> None:
        self.settings = settings
        self.period_s = float(math.gcd(round(settings.polling_s), round(settings.sync_s)))
        self.sample_s = settings.scrape_s
        self._zero_one = ZeroOne(
            minimum=settings.minimum,
            idle=settings.idle,
            cooldown_s=settings.cooldown_s,
            initial_cooldown_s=settings.initial_cooldown_s,
            created_s=created_s,
        )
        self._hpa = Hpa(
            HpaSettings(
                metric=Metric.AVERAGE,
                minimum=max(1, settings.minimum),
                maximum=settings.maximum,
                behavior=settings.behavior,
                tolerance=settings.tolerance,
            )
        )
        self._sample: Sample | None = None
        self._arrivals: deque[tuple[float, int]] = deque()
        self._failures = 0
        self._next_poll_s = self._next_sync_s = -math.inf

    def observe(self, sample: Sample) -> None:
        """Prometheus has scraped; a failed query says nothing of arrivals either."""
        self._sample = sample
        if not sample.failed:
            self._arrivals.append((sample.at_s, sample.arrivals))
            while self._arrivals[0][0] <= sample.at_s - _ARRIVING_WINDOW_S:
                self._arrivals.popleft()

    def decide(self, now: float, view: View) -> int:
        """The poll when it is due, and the HPA's sync when that is; a replica count that the poll changes is left alone by the HPA this time."""
        replicas = view.replicas
        if now >= self._next_poll_s:
            self._next_poll_s = now + self.settings.polling_s
            replicas = self._poll(now, replicas)
        if now >= self._next_sync_s:
            self._next_sync_s = now + self.settings.sync_s
            if replicas == view.replicas:
                replicas = self._sync(now, view)
        return replicas

    def wake(self, now: float, view: View) -> int:
        """An arrival is seen at the next poll."""
        del now
        return view.replicas

    def _value(self, now: float) -> float | None:
        """What the query is worth; None when it is an error."""
        sample = self._sample
        if sample is None or sample.failed:
            return None
        total = sample.total(self.settings.signal, held=self.settings.sees_held) if now - sample.at_s <= self.settings.stale_s else None
        if total is None:
            return 0.0 if self.settings.ignore_null else None
        return total

    def _arriving(self, now: float) -> bool:
        recent = [arrivals for at, arrivals in self._arrivals if at > now - _ARRIVING_WINDOW_S]
        return len(recent) > 1 and recent[-1] > recent[0]

    def _poll(self, now: float, current: int) -> int:
        value = self._value(now)
        alive = self.settings.keep_alive and self._arriving(now)
        active = alive or (value is not None and value > self.settings.activation)
        return self._zero_one.step(now, current, active=active, error=value is None, fallback=self.settings.fallback)

    def _sync(self, now: float, view: View) -> int:
        value = self._value(now)
        self._failures = self._failures + 1 if value is None else 0
        fallback = self.settings.fallback
        if value is None and fallback is not None and self._failures > fallback.failure_threshold:
            value = fallback.metric(self.settings.target, current=view.replicas)
        wishes: list[int | None] = [None if value is None else self._share(value, self.settings.target, view)]
        if self.settings.keep_alive:
            wishes.append(self._share(1.0 if self._arriving(now) else 0.0, 1.0, view))
        return self._hpa.follow(now, view.replicas, wishes)

    def _share(self, total: float, target: float, view: View) -> int:
        return from_average(total, target=target, current=view.existing, tolerance=self.settings.tolerance)
