"""The llm-d workload variant autoscaler (WVA): one analysis of all variants of a model, published as a metric that an HPA per variant follows.

Every 15 s it reads pods and the queue in front of them from Prometheus, works out what the model needs (V1 `wva_saturation` or V2 `wva_tokens`,
the default since v0.9), shares that among variants by cost (`wva_cost` for V2) and publishes `wva_desired_replicas`. An HPA with an AverageValue of 1
reads that one scrape later. To zero it goes only where asked to, by completed requests alone; from zero it starts one replica of *every* variant.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from jevons.simulator.policies.grid import Axis, Grid, axis
from jevons.simulator.policies.hpa import QUICK, Hpa, HpaSettings, Metric
from jevons.simulator.policies.hpa_rules import Behavior, Tolerance, from_average
from jevons.simulator.policies.policy import Sample, View, clamped
from jevons.simulator.policies.wva_cost import Offer, plan
from jevons.simulator.policies.wva_saturation import Standing, Thresholds, targets, verdict
from jevons.simulator.policies.wva_tokens import Capacity, Lengths, Limits, demand_of, held_demand, need

_PEAK_S = 60.0
_LENGTHS_S = 300.0


class Analyser(StrEnum):
    """V1 counts full pods, V2 tokens."""

    V1 = "v1"
    V2 = "v2"


@dataclass(frozen=True, slots=True)
class Facts:
    """What WVA is told of a variant: `cost` of a replica, relative to the others (`variantCost`, 10 by default), and its engine's batch limits."""

    cost: float = 10.0
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192


@dataclass(frozen=True, slots=True)
class WvaSettings:
    """Defaults: llm-d/llm-d-workload-variant-autoscaler b08b1c7 (2026-02-19, about v0.5); V2 as the default is v0.9's."""

    analyser: Analyser = Analyser.V2
    thresholds: Thresholds = field(default_factory=Thresholds)
    """`kvCacheThreshold`, `queueLengthThreshold`, `kvSpareTrigger`, `queueSpareTrigger`."""
    up: float = 0.85
    """V2 grows when demand is above this share of the capacity that is there or coming."""
    down: float = 0.70
    """V2 shrinks when demand is below this share of the ready capacity."""
    sleeping_cost_known: bool = False
    """As read, a variant without replicas is taken to cost nothing and so ranks first."""
    scale_to_zero: bool = False
    """`enable_scale_to_zero`."""
    retention_s: float = 600.0
    """Without a completed request for so long the model is idle."""
    interval_s: float = 15.0
    minimum: int = 1
    """`minReplicas` of the HPA of every variant; 0 needs HPAScaleToZero or KEDA."""
    maximum: int = 100
    behavior: Behavior = field(default_factory=Behavior)
    """Of the HPAs."""
    scrape_s: float = 15.0
    """Of Prometheus, both for the pods and for what WVA publishes. Not WVA's: a common choice."""


GRID = Grid(
    (
        axis("analyser", Analyser.V1, Analyser.V2),
        Axis(("up", "down"), ((0.85, 0.70), (0.7, 0.5), (0.55, 0.4), (0.4, 0.25), (0.25, 0.15))),
        axis("thresholds", Thresholds(), Thresholds(kv=0.6, queue=5.0, kv_spare=0.2), Thresholds(kv=0.4, queue=3.0, kv_spare=0.1, queue_spare=2.0)),
        axis("minimum", 0, 1, 2),
        axis("behavior", Behavior(), QUICK),
    ),
    "up",
)


class _Watched:
    """What is remembered of one variant's scrapes: the newest, peaks per pod over a minute, and token counters over five."""

    def __init__(self, settings: WvaSettings, facts: Facts) -> None:
        self.facts = facts
        self.sample: Sample | None = None
        self.desired = 0
        self.capacity = Capacity(
            Limits(settings.thresholds.kv, settings.thresholds.queue, facts.max_num_seqs, facts.max_num_batched_tokens),
        )
        self._recent: deque[Sample] = deque()
        self._counters: deque[Sample] = deque()

    def observe(self, sample: Sample) -> None:
        self.sample = sample
        if sample.failed:
            return
        for kept, length_s in ((self._recent, _PEAK_S), (self._counters, _LENGTHS_S)):
            kept.append(sample)
            while kept[0].at_s <= sample.at_s - length_s:
                kept.popleft()

    def peaks(self) -> list[tuple[float, float]]:
        """(KV share, queued) at their highest in the last minute, of each pod that reports now."""
        reporting = {reading.pod for reading in self.sample.pods if not reading.leaving} if self.sample else set()
        highest: dict[str, tuple[float, float]] = {}
        for sample in self._recent:
            for reading in sample.pods:
                if reading.pod in reporting:
                    kv, queue = highest.get(reading.pod, (0.0, 0.0))
                    highest[reading.pod] = (max(kv, reading.kv_usage), max(queue, float(reading.waiting)))
        return list(highest.values())

    def lengths(self) -> Lengths:
        """Mean tokens of the requests completed in the last five minutes."""
        if not self._counters:
            return Lengths()
        first, last = self._counters[0], self._counters[-1]
        completed = last.completed - first.completed
        if completed <= 0:
            return Lengths()
        return Lengths((last.prompt_tokens - first.prompt_tokens) / completed, (last.output_tokens - first.output_tokens) / completed)


class Wva:
    """The state for one model: what was learned of its variants, what was published, and the HPAs that follow."""

    def __init__(self, settings: WvaSettings, variants: Mapping[str, Facts]) -> None:
        self.settings = settings
        self.period_s, self.sample_s = settings.interval_s, settings.scrape_s
        self._variants = {name: _Watched(settings, facts) for name, facts in variants.items()}
        bounds = HpaSettings(metric=Metric.AVERAGE, minimum=settings.minimum, maximum=settings.maximum, behavior=settings.behavior)
        self._followers = {name: Hpa(bounds) for name in variants}
        self._published: deque[tuple[float, dict[str, int]]] = deque()
        self._last_completed_s: float | None = None
        self._completed = 0

    def observe(self, samples: Mapping[str, Sample]) -> None:
        """Prometheus has scraped every variant."""
        for name, watched in self._variants.items():
            watched.observe(samples[name])
        good = [samples[name] for name in self._variants if not samples[name].failed]
        completed = sum(sample.completed for sample in good)
        if good and (completed > self._completed or self._last_completed_s is None):
            self._last_completed_s, self._completed = max(sample.at_s for sample in good), completed

    def decide(self, now: float, views: Mapping[str, View]) -> dict[str, int]:
        """One analysis, and one sync of the HPAs on what had been published a scrape ago."""
        wanted = self._analysed(now, views)
        if wanted is not None:
            capped = {name: clamped(count, 0, self.settings.maximum) for name, count in wanted.items()}
            self._published.append((now, capped))
            for name, count in capped.items():
                self._variants[name].desired = count
        while len(self._published) > 1 and self._published[1][0] <= now - self.settings.scrape_s:
            self._published.popleft()
        seen = self._published[0][1] if self._published and self._published[0][0] <= now - self.settings.scrape_s else {}
        return {name: self._followed(now, name, view, seen) for name, view in views.items()}

    def wake(self, now: float, views: Mapping[str, View]) -> dict[str, int]:
        """Its loop of 100 ms over the queue in front of the pods sets every sleeping variant to one."""
        del now
        return {name: max(1, view.replicas) if name in self._variants else view.replicas for name, view in views.items()}

    def _followed(self, now: float, name: str, view: View, seen: Mapping[str, int]) -> int:
        if name not in self._variants:
            return view.replicas
        desired = seen.get(name)
        wish = None if desired is None else from_average(desired, target=1.0, current=view.existing, tolerance=Tolerance())
        return self._followers[name].follow(now, view.replicas, [wish])

    def _analysed(self, now: float, views: Mapping[str, View]) -> dict[str, int] | None:
        """Replicas of every variant; None when a scrape is missing or failed."""
        samples = [watched.sample for watched in self._variants.values()]
        if any(sample is None or sample.failed for sample in samples):
            return None
        if self.settings.scale_to_zero and self._last_completed_s is not None and now - self._last_completed_s >= self.settings.retention_s:
            return dict.fromkeys(self._variants, 0)
        return self._by_saturation(views) if self.settings.analyser is Analyser.V1 else self._by_tokens(now, views)

    def _by_saturation(self, views: Mapping[str, View]) -> dict[str, int]:
        pods: list[tuple[float, float]] = []
        standings = {}
        for name, watched in self._variants.items():
            view, peaks = views[name], watched.peaks()
            pods += peaks
            standings[name] = Standing(watched.facts.cost, view.existing, watched.desired, len(peaks), view.existing - view.ready)
        return targets(standings, verdict(pods, self.settings.thresholds))

    def _by_tokens(self, now: float, views: Mapping[str, View]) -> dict[str, int]:
        demand = supply = anticipated = 0.0
        offers = {}
        for name, watched in self._variants.items():
            sample, view, lengths = watched.sample, views[name], watched.lengths()
            if sample is None:
                continue
            capacity = watched.capacity.of(now, sample.pods, lengths)
            demand += demand_of(sample, lengths) + held_demand(sample, lengths)
            supply += view.ready * capacity
            anticipated += view.existing * capacity
            known = view.ready > 0 or self.settings.sleeping_cost_known
            offers[name] = Offer(watched.facts.cost if known else 0.0, capacity, view.existing)
        return plan(offers, need(demand, supply=supply, anticipated=anticipated, up=self.settings.up, down=self.settings.down))
