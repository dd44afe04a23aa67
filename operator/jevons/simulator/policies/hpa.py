"""The Kubernetes HorizontalPodAutoscaler v2 as an autoscaler of model servers.

Every 15 s it reads one metric (or several, then the largest wish wins), turns it into replicas by the rules of `hpa_rules`, and moves there as far as
windows and limits allow. It knows nothing of requests that wait in front of the pods unless the metric counts them, and holds none: at zero replicas
only an External metric that still exists can bring it back. KEDA and the llm-d autoscaler actuate through it, so they use this class too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from jevons.simulator.policies.grid import SIGNAL_AND_TARGET, Grid, axis
from jevons.simulator.policies.hpa_rules import Behavior, Limit, Stabiliser, Tolerance, Unit, from_average, from_pods, from_value
from jevons.simulator.policies.policy import Sample, Signal, View


class Metric(StrEnum):
    """How the metric is declared in the object."""

    PODS = "Pods"
    VALUE = "Value"
    AVERAGE = "AverageValue"


@dataclass(frozen=True, slots=True)
class HpaSettings:
    """Defaults: kubernetes/kubernetes, a769d58 (fork near master, 2026), config/v1alpha1/defaults.go and apis/autoscaling/v2/defaults.go.

    `signal` and `target` have no default in Kubernetes. Ours are the queue depth of 5 that vLLM's production-stack documents for its
    autoscaling, per pod.
    """

    signal: Signal = Signal.WAITING
    target: float = 5.0
    metric: Metric = Metric.PODS
    sees_held: bool = False
    """Whether the metric counts requests in front of the pods. An ordinary metric of the engine does not."""
    minimum: int = 1
    """`minReplicas`; 0 is for VALUE and AVERAGE only (gate HPAScaleToZero, on since 1.37)."""
    maximum: int = 100
    """`maxReplicas` must be given in Kubernetes; the benchmark gives every peer the same."""
    tolerance: Tolerance = field(default_factory=Tolerance)
    """`--horizontal-pod-autoscaler-tolerance` 0.1."""
    behavior: Behavior = field(default_factory=Behavior)
    """Up 4 pods or 100 % in 15 s, whichever is more; down 100 % in 15 s after a window of 300 s."""
    sync_s: float = 15.0
    """`--horizontal-pod-autoscaler-sync-period`."""
    scrape_s: float = 15.0
    """Of the Prometheus behind the metrics adapter. Not the HPA's: a common choice."""
    stale_s: float = 300.0
    """After which Prometheus no longer answers with the last sample (its lookback)."""

    def __post_init__(self) -> None:
        if self.minimum == 0 and self.metric is Metric.PODS:
            raise ValueError("minimum: 0 needs an External metric; use Metric.VALUE or Metric.AVERAGE, or a minimum of 1")


BURSTS = Behavior(up=(Limit(Unit.PODS, 10, 15.0), Limit(Unit.PERCENT, 300, 15.0)), down_window_s=300.0)
"""A behaviour for surges: ten pods or fourfold in 15 s."""
QUICK = Behavior(down_window_s=60.0)
"""The default, but willing to shrink after a minute."""

GRID = Grid(
    (SIGNAL_AND_TARGET, axis("minimum", 1, 2), axis("metric", Metric.PODS, Metric.AVERAGE), axis("behavior", Behavior(), BURSTS, QUICK)), "target"
)


class Hpa:
    """The controller's state for one object."""

    def __init__(self, settings: HpaSettings) -> None:
        self.settings = settings
        self.period_s, self.sample_s = settings.sync_s, settings.scrape_s
        self._stabiliser = Stabiliser(settings.behavior, minimum=settings.minimum, maximum=settings.maximum)
        self._sample: Sample | None = None

    def observe(self, sample: Sample) -> None:
        """Prometheus has scraped."""
        self._sample = sample

    def decide(self, now: float, view: View) -> int:
        """One sync."""
        return self.follow(now, view.replicas, [self._wish(now, view)])

    def wake(self, now: float, view: View) -> int:
        """An HPA does not notice an arrival."""
        del now
        return view.replicas

    def follow(self, now: float, current: int, wishes: Sequence[int | None]) -> int:
        """Replicas after one sync in which each metric asked for one of `wishes`, None standing for a metric in error.

        At zero with a minimum above zero scaling is off. Outside the bounds it goes to the bound without asking metrics. With a metric in error
        it may grow by the others and never shrinks.
        """
        if current == 0 and self.settings.minimum > 0:
            return 0
        if not self.settings.minimum <= current <= self.settings.maximum:
            return max(self.settings.minimum, min(self.settings.maximum, current))
        valid = [wish for wish in wishes if wish is not None]
        if not valid or (len(valid) < len(wishes) and max(valid) < current):
            return current
        return self._stabiliser.next(now, current, max(valid))

    def _wish(self, now: float, view: View) -> int | None:
        sample, settings = self._sample, self.settings
        if sample is None or sample.failed or now - sample.at_s > settings.stale_s:
            return None
        if settings.metric is Metric.PODS:
            values = [reading.of(settings.signal) for reading in sample.pods if not reading.leaving]
            missing = max(0, view.ready + view.starting - len(values))
            return from_pods(
                values, target=settings.target, current=view.replicas, missing=missing, unready=view.pending, tolerance=settings.tolerance
            )
        total = sample.total(settings.signal, held=settings.sees_held)
        if total is None:
            return None
        if settings.metric is Metric.VALUE:
            return from_value(total, target=settings.target, current=view.replicas, ready=view.ready, tolerance=settings.tolerance)
        return from_average(total, target=settings.target, current=view.existing, tolerance=settings.tolerance)
