"""Everything a plan needs to know of one deployment, gathered once per pass: pods summed up, loads with their trends, prices, what forbids a move.

`gather` also writes what memory learns from this pass (trends, gaps, starts, concurrency), before any plan is made: facts do not depend on budgets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from jevons.core import capacity, idle, speed, startup, stuck
from jevons.core.demand import ClassLoad, Seen, class_loads, class_names, pods_of, stale_after_s
from jevons.core.health import Health
from jevons.core.memory import DeploymentMemory, Trend, VariantMemory
from jevons.core.money import ZERO, accelerator_usd_per_h
from jevons.core.observed import Unknown
from jevons.core.snapshot import DeploymentState, Snapshot, TargetState, VariantState
from jevons.core.spec import Deployment, Profile, Promotion, ScalingMode, Variant

FOREIGN_PAUSE_S = 600.0
AFTER_OUTAGE_S = 300.0
AFTER_START_S = 180.0
FAILED_STARTS = 3
PARK_S, PARK_MAX_S = 60.0, 1800.0
MISSING = TargetState(exists=False)
UNTRIED = VariantMemory()


@dataclass(slots=True)
class VariantFacts:
    """One variant as it is, and whether it may be moved or used."""

    spec: Variant
    target: TargetState
    selector: str
    seen: Seen
    memory: VariantMemory
    current: int
    held: int
    usd_per_h: float | None
    """Of one replica now, on demand; None = no usable price."""
    hourly: Decimal | None
    """USD/h that its pods cost now, spot prices included; None when a pod has no usable price."""
    fixed: str
    """Why its replicas must not be touched (CamelCase); empty = they may."""
    parked: bool
    startup_s: float
    """Within which most of its starts are ready: learned, or the spec's (`startup.py`)."""
    replaceable: bool = False
    """The first of its stuck pods may be replaced now."""
    capacities: dict[str, capacity.Capacity] = field(default_factory=dict)
    """Of one replica, by request class."""

    profile: Profile | None = None
    """The spec's, as slow as it has shown itself to be."""
    usable: bool = False
    """May serve requests of its own: promoted, not parked, and either ready or startable."""

    def __post_init__(self) -> None:
        """Settle `profile` and `usable` once: every plan asks for them."""
        self.profile = self.spec.profile
        if self.profile is not None and self.memory.slowness and (step := speed.step(self.memory.slowness)):
            self.profile = speed.scaled(self.profile, step)
        startable = not self.fixed or self.fixed in {"ForeignScaling", "Paused", "Recommend"}
        self.usable = (
            self.spec.promotion is Promotion.AUTO and not self.parked and (self.seen.ready > 0 or (startable and self.spec.max_replicas > 0))
        )


@dataclass(slots=True)
class Facts:
    """One deployment as it is."""

    state: DeploymentState
    spec: Deployment
    now: float
    variants: tuple[VariantFacts, ...]
    loads: tuple[ClassLoad, ...]
    trends: Mapping[str, Trend]
    gaps: tuple[float, ...]
    memory: DeploymentMemory
    unknown_demand: str
    metrics_down: str
    no_down: str
    """Why nothing may go down in this pass; empty = it may."""
    fallback: bool
    held: int
    last_arrival_at_s: float | None
    class_names: tuple[str, ...]


def gather(snapshot: Snapshot, state: DeploymentState, memory: DeploymentMemory, prices: Mapping[str, Decimal | None], now: float) -> Facts:
    """The facts of one deployment at `now`; `memory` is what the last pass left, `prices` the classes' on-demand USD/h now."""
    spec, max_age_s = state.spec, stale_after_s(snapshot)
    known = memory.variants
    horizon_s = max([startup.expected_s(known.get(variant.name, UNTRIED).health, variant.startup_s) for variant in spec.variants], default=0.0)
    loads, trends, unknown_demand = class_loads(state, memory, now, max_age_s, horizon_s)
    metrics_down = _metrics_down(snapshot, now, max_age_s)
    untold = metrics_down or _no_down(snapshot, state, now)
    held = sum([item.count for item in state.held if item.count > 0]) if state.held else 0
    last = _latest(state.last_arrival_at_s, memory.last_arrival_at_s)
    gaps = memory.gaps
    if memory.last_arrival_at_s is not None and last is not None and last > memory.last_arrival_at_s:
        gaps = idle.with_gap(gaps, last - memory.last_arrival_at_s)
    variants = tuple(
        [
            _variant(snapshot, state, memory, variant, price=prices.get(variant.accelerator_class), now=now, max_age_s=max_age_s, sure=not untold)
            for variant in spec.variants
        ]
    )
    return Facts(
        state=state,
        spec=spec,
        now=now,
        variants=variants,
        loads=loads,
        trends=trends,
        gaps=gaps,
        memory=memory,
        unknown_demand=unknown_demand,
        metrics_down=metrics_down,
        no_down=untold or (f"Demand{unknown_demand}" if unknown_demand else ""),
        fallback=_fallback(snapshot, spec, metrics_down, now),
        held=held,
        last_arrival_at_s=last,
        class_names=class_names(spec),
    )


def _latest(*times: float | None) -> float | None:
    return max((at_s for at_s in times if at_s is not None), default=None)


def _metrics_down(snapshot: Snapshot, now: float, max_age_s: float) -> str:
    if isinstance(snapshot.metrics, Unknown):
        return "MetricsUnavailable"
    return "MetricsUnavailable" if now - snapshot.metrics.at_s > max_age_s else ""


def _no_down(snapshot: Snapshot, state: DeploymentState, now: float) -> str:
    if now - snapshot.started_at_s < AFTER_START_S and _inherited(state, snapshot.started_at_s):
        return "JustStarted"
    if snapshot.metrics_back_since_s is not None and now - snapshot.metrics_back_since_s < AFTER_OUTAGE_S:
        return "MetricsJustBack"
    return ""


def _inherited(state: DeploymentState, started_at_s: float) -> bool:
    """Whether something runs that this operator did not start: a pod from before it led, or replicas whose pods nobody has seen yet."""
    for variant in state.variants.values():
        if not variant.pods and variant.target.replicas:
            return True
        if any(pod.created_at_s < started_at_s for pod in variant.pods):
            return True
    return False


def _fallback(snapshot: Snapshot, spec: Deployment, metrics_down: str, now: float) -> bool:
    after_s, since_s = spec.scaling.fallback_after_s, snapshot.metrics_down_since_s
    return bool(metrics_down) and after_s is not None and since_s is not None and now - since_s >= after_s


def _fixed(snapshot: Snapshot, state: DeploymentState, variant: Variant, target: TargetState, now: float) -> str:
    """Why this variant's replicas are not ours to move now; the first that holds."""
    paused_s = now - target.foreign_change_at_s if target.foreign_change_at_s is not None else FOREIGN_PAUSE_S
    mode = state.spec.scaling.mode
    known = variant.accelerator_class in snapshot.accelerators
    if known and mode is ScalingMode.ENFORCE and not (state.invalid or state.name_taken_by or target.untouchable) and paused_s >= FOREIGN_PAUSE_S:
        return ""
    reasons = (
        "InvalidSpec" if state.invalid else "",
        "NameTaken" if state.name_taken_by is not None else "",
        (target.problem or "") if target.untouchable else "",
        "AcceleratorClassNotFound" if not known else "",
        str(mode) if mode is not ScalingMode.ENFORCE else "",
        "ForeignScaling" if paused_s < FOREIGN_PAUSE_S else "",
    )
    return next((reason for reason in reasons if reason), "")


def _variant(
    snapshot: Snapshot,
    state: DeploymentState,
    memory: DeploymentMemory,
    variant: Variant,
    *,
    price: Decimal | None,
    now: float,
    max_age_s: float,
    sure: bool,
) -> VariantFacts:
    """One variant; `sure`: what is read of pods may be acted on."""
    seen_state = state.variants.get(variant.name)
    target = seen_state.target if seen_state is not None else MISSING
    old = memory.variants.get(variant.name, UNTRIED)
    startup_s = startup.expected_s(old.health, variant.startup_s)
    seen = pods_of(variant, seen_state, now, max_age_s, health=old.health, startup_s=startup_s)
    held = sum(item.count for item in state.held if item.variant == variant.name and item.count > 0) if state.held else 0
    learned = _learned(old, variant, seen, startup_s, current=target.replicas or 0, held=held, now=now)
    fixed = _fixed(snapshot, state, variant, target, now)
    return VariantFacts(
        spec=variant,
        target=target,
        selector=seen_state.selector if seen_state is not None else "",
        seen=seen,
        memory=learned,
        current=target.replicas or 0,
        held=held,
        usd_per_h=float(price) * variant.accelerator_count if price is not None else None,
        hourly=_hourly(snapshot, variant, seen_state, price, now),
        fixed=fixed,
        parked=learned.parked_until_s is not None and now < learned.parked_until_s,
        startup_s=startup.expected_s(learned.health, variant.startup_s),
        replaceable=bool(seen.stuck) and sure and not fixed and stuck.due(learned.health, now, starting=seen.expected > 0.0),
    )


def _hourly(snapshot: Snapshot, variant: Variant, state: VariantState | None, price: Decimal | None, now: float) -> Decimal | None:
    """USD/h of the pods that hold accelerators now."""
    total, plain = ZERO, 0
    for pod in state.pods if state is not None and not state.target.paid_elsewhere else ():
        if pod.scheduled_at_s is None:
            continue
        if not pod.spot:
            plain += 1
            continue
        spot = accelerator_usd_per_h(snapshot.accelerators.get(variant.accelerator_class), now, spot=True)
        if spot is None:
            return None
        total += spot * variant.accelerator_count
    if not plain:
        return total
    return total + price * variant.accelerator_count * plain if price is not None else None


def _learned(old: VariantMemory, variant: Variant, seen: Seen, startup_s: float, *, current: int, held: int, now: float) -> VariantMemory:
    """Memory of one variant after this pass's readings: work, concurrency, how its starts go and what its pods show."""
    batch = old.batch
    if variant.profile is None and seen.best_pod is not None:
        batch = capacity.learned_batch(batch, *seen.best_pod)
    work_at_s = old.work_at_s
    if seen.working or held or (work_at_s is None and current > 0):
        work_at_s = now
    elif seen.worked_at_s > (work_at_s or 0.0):
        work_at_s = min(now, seen.worked_at_s)
    start_at_s, failed, parked_until_s = old.start_at_s, old.failed_starts, old.parked_until_s
    if seen.ready > 0 or seen.stuck:
        start_at_s, failed, parked_until_s = None, 0, None
    elif current <= 0:
        start_at_s = None
    elif start_at_s is None or (seen.unschedulable and seen.unschedulable == seen.pods):
        start_at_s = now
    elif _start_failed(seen, startup_s, now - start_at_s):
        start_at_s, failed = now, failed + 1
        if failed >= FAILED_STARTS:
            parked_until_s = now + min(PARK_MAX_S, PARK_S * math.ldexp(1.0, min(10, failed - FAILED_STARTS)))
    health = old.health
    if seen.starting or seen.stalled or health.starting or health.stalled:
        starts_s = (*health.starts_s, *seen.started_s)[-startup.KEEP :] if seen.started_s else health.starts_s
        health = Health(seen.starting, starts_s, seen.stalled, health.replaced_at_s, health.replacements)
    same = work_at_s == old.work_at_s and start_at_s == old.start_at_s and batch == old.batch and health == old.health
    if same and failed == old.failed_starts and parked_until_s == old.parked_until_s:
        return old
    return VariantMemory(old.needs, batch, work_at_s, start_at_s, failed, parked_until_s, old.slowness, old.slow_at_s, old.gaps, health)


def _start_failed(seen: Seen, startup_s: float, age_s: float) -> bool:
    """Crashing for a whole startup time, or not ready after three of them."""
    if seen.failed and seen.failed == seen.pods:
        return age_s >= max(10.0, startup_s)
    return age_s >= 3.0 * startup_s + 60.0
