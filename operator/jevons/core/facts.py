"""Everything a plan needs to know of one deployment, gathered once per pass: pods summed up, loads with their trends, prices, what forbids a move.

`gather` also writes what memory learns from this pass (trends, gaps, starts, concurrency), before any plan is made: facts do not depend on budgets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from jevons.core import busy, capacity, cowake, hazard, reclaim, speed, startup, stuck
from jevons.core.cowake import Callers, Heard
from jevons.core.demand import ClassLoad, Seen, class_loads, class_names, pods_of, stale_after_s
from jevons.core.health import Health
from jevons.core.levels import Gaps
from jevons.core.memory import DeploymentMemory, Trend, VariantMemory
from jevons.core.metering import Tariff
from jevons.core.money import ZERO
from jevons.core.observed import Unknown
from jevons.core.snapshot import DeploymentState, Pod, Snapshot, TargetState, VariantState
from jevons.core.spec import Deployment, Profile, Promotion, ScalingMode, Variant

FOREIGN_PAUSE_S = 600.0
AFTER_OUTAGE_S = 300.0
AFTER_START_S = 180.0
FAILED_STARTS = 3
PARK_S, PARK_MAX_S = 60.0, 1800.0
NOBODY: Heard = {}
ABSENT = VariantState(TargetState(exists=False))
NOT_NOW = {"ForeignScaling", "Paused", "Recommend"}
"""Why a variant is not moved although it could be."""
UNTRIED = VariantMemory()
ENFORCE, PROMOTED = ScalingMode.ENFORCE, Promotion.AUTO
"""By a name of their own: a member is found through its enum's metaclass, which takes ten times as long."""


@dataclass(slots=True)
class VariantFacts:
    """One variant as it is, and whether it may be moved or used."""

    spec: Variant
    target: TargetState
    selector: str
    seen: Seen
    memory: VariantMemory
    """After this pass, but for what its plan adds (`publish.remembered`)."""
    work_at_s: float | None
    """When it last had work, this pass included."""
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
    wake_s: float | None = None
    """Within which a sleeping replica is awake: learned, or the spec's; None = its replicas cannot sleep."""
    replaceable: bool = False
    """The first of its stuck pods may be replaced now."""
    profile: Profile | None = None
    """The spec's, as slow as it has shown itself to be."""
    startable: bool = True
    """Its `replicas.max` and its class's limit allow one."""
    usable: bool = False
    """May serve requests of its own: promoted, not parked, and either ready or startable (and with room for one, `ceilings.narrow`)."""
    rate: float = 0.0
    """`usd_per_h`, or its accelerators where there is no price: variants are compared by it."""
    plain: bool = False
    """Every pod is at work and whole, it is ours to move, and nobody else moves it: there is nothing to say of it but its size."""
    gaps: dict[int, Gaps] | None = None
    """`levels.with_gaps` after a need, by that need, once asked for: plans at several pressures ask the same."""
    capacities: dict[str, capacity.Capacity] = field(default_factory=dict)
    """Of one replica, by request class."""


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
    prior: tuple[float, ...]
    """Of gaps, by all models (`hazard.pooled`)."""
    callers: Callers
    memory: DeploymentMemory
    unknown_demand: str
    metrics_down: str
    no_down: str
    """Why nothing may go down in this pass; empty = it may."""
    fallback: bool
    held: int
    last_arrival_at_s: float | None
    class_names: tuple[str, ...]
    plain: bool
    """All variants are."""


def gather(snapshot: Snapshot, state: DeploymentState, memory: DeploymentMemory, tariff: Tariff, heard: Heard = NOBODY) -> Facts:
    """The facts of one deployment at the tariff's `now`; `memory` is what the last pass left, `heard` who was called lately in its namespace."""
    spec, now, max_age_s, known = state.spec, tariff.now, stale_after_s(snapshot), memory.variants
    before, startups_s = [], []
    for variant in spec.variants:
        old = known.get(variant.name, UNTRIED)
        before.append(old)
        startups_s.append(startup.expected_s(old.health, variant.startup_s) if old.health.starts_s else variant.startup_s)
    loads, trends, unknown_demand = class_loads(state, memory, now, max_age_s, max(startups_s, default=0.0))
    metrics_down = _metrics_down(snapshot, now, max_age_s)
    untold = metrics_down or _no_down(snapshot, state, now)
    last, gaps = state.last_arrival_at_s, memory.gaps
    if memory.last_arrival_at_s is not None:
        if last is None or last < memory.last_arrival_at_s:
            last = memory.last_arrival_at_s
        elif last > memory.last_arrival_at_s:
            gaps = hazard.with_gap(gaps, last - memory.last_arrival_at_s)
    ours = spec.scaling.mode is ENFORCE and not state.invalid and state.name_taken_by is None
    found = [
        _variant(state, variant, old, tariff, startup_s, max_age_s, not untold, ours)
        for variant, old, startup_s in zip(spec.variants, before, startups_s, strict=True)
    ]
    return Facts(
        state,
        spec,
        now,
        tuple(found),
        loads,
        trends,
        gaps,
        snapshot.memory.prior,
        cowake.learned(memory.callers, heard, spec.key.name, memory.last_arrival_at_s, last, now=now),
        memory,
        unknown_demand,
        metrics_down,
        untold or (f"Demand{unknown_demand}" if unknown_demand else ""),
        bool(metrics_down) and _fallback(snapshot, spec, now),
        sum([item.count for item in state.held if item.count > 0]) if state.held else 0,
        last,
        class_names(spec),
        False not in [variant.plain for variant in found],
    )


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


def _fallback(snapshot: Snapshot, spec: Deployment, now: float) -> bool:
    after_s, since_s = spec.scaling.fallback_after_s, snapshot.metrics_down_since_s
    return after_s is not None and since_s is not None and now - since_s >= after_s


def _fixed(state: DeploymentState, target: TargetState, now: float, *, known: bool) -> str:
    """Why a variant's replicas are not ours to move now, the first that holds; `known`: its accelerator class is."""
    paused_s = now - target.foreign_change_at_s if target.foreign_change_at_s is not None else FOREIGN_PAUSE_S
    mode = state.spec.scaling.mode
    reasons = (
        "InvalidSpec" if state.invalid else "",
        "NameTaken" if state.name_taken_by is not None else "",
        (target.problem or "") if target.untouchable else "",
        "AcceleratorClassNotFound" if not known else "",
        str(mode) if mode is not ENFORCE else "",
        "ForeignScaling" if paused_s < FOREIGN_PAUSE_S else "",
    )
    return next((reason for reason in reasons if reason), "")


def _variant(  # noqa: PLR0917  asked for every variant, and keywords cost
    state: DeploymentState, variant: Variant, old: VariantMemory, tariff: Tariff, startup_s: float, max_age_s: float, sure: bool, ours: bool
) -> VariantFacts:
    """One variant. startup_s: as known before this pass; sure: what is read of pods may be acted on; ours: nothing but its target can fix it."""
    now, accelerator, profile = tariff.now, variant.accelerator_class, variant.profile
    seen_state = state.variants.get(variant.name, ABSENT)
    target = seen_state.target
    current = target.replicas or 0
    seen = busy.summed(variant, seen_state.pods, old.health, now, max_age_s)
    if seen is None:
        seen = pods_of(variant, seen_state, now, max_age_s, health=old.health, startup_s=startup_s)
    if seen.busy and target.problem is None:
        spot = len(seen.spot)
        hourly = tariff.hourly(accelerator, variant.accelerator_count, seen.pods - spot, spot)
    else:
        hourly = _hourly(variant, seen_state, tariff)
    held = sum([item.count for item in state.held if item.variant == variant.name and item.count > 0]) if state.held else 0
    learned = _learned(old, variant, seen, startup_s, current, now)
    work_at_s = now if seen.busy else _worked_at_s(old.work_at_s, seen, now, wanted=held > 0 or (old.work_at_s is None and current > 0))
    known = accelerator in tariff.classes
    free = ours and known and target.problem is None and target.foreign_change_at_s is None
    fixed = "" if free else _fixed(state, target, now, known=known)
    parked = learned.parked_until_s is not None and now < learned.parked_until_s
    if learned.slowness and profile is not None and (step := speed.step(learned.slowness)):
        profile = speed.scaled(profile, step)
    usd_per_h = tariff.usd_per_h.get(accelerator)
    if usd_per_h is not None:
        usd_per_h *= variant.accelerator_count
    limit = tariff.classes[accelerator].limit if known else None
    startable = variant.max_replicas > 0 and (limit is None or limit >= variant.accelerator_count)
    if learned.health is not old.health:
        startup_s = startup.expected_s(learned.health, variant.startup_s)
    return VariantFacts(
        variant,
        target,
        seen_state.selector,
        seen,
        learned,
        work_at_s,
        current,
        held,
        usd_per_h,
        hourly,
        fixed,
        parked,
        startup_s,
        startup.wake_s(learned.health, variant.sleep.wake_s) if variant.sleep is not None else None,
        bool(seen.stuck) and sure and not fixed and stuck.due(learned.health, now, starting=seen.expected > 0.0),
        profile,
        startable,
        not parked and variant.promotion is PROMOTED and (seen.ready > 0 or (startable and (not fixed or fixed in NOT_NOW))),
        usd_per_h if usd_per_h is not None else float(variant.accelerator_count),
        free and seen.busy and target.foreign_changes <= 1,
    )


def _hourly(variant: Variant, state: VariantState, tariff: Tariff) -> Decimal | None:
    """USD/h of the pods that hold accelerators now."""
    if not state.pods or (state.target.problem is not None and state.target.paid_elsewhere):
        return ZERO
    held = [pod for pod in state.pods if pod.scheduled_at_s is not None]
    if variant.sleep is not None and any(pod.asleep for pod in held):
        parts = [_of_pods([pod for pod in held if pod.asleep is slept], variant, tariff) for slept in (False, True)]
        return None if parts[0] is None or parts[1] is None else parts[0] + parts[1] * variant.sleep.holding
    return _of_pods(held, variant, tariff)


def _of_pods(pods: list[Pod], variant: Variant, tariff: Tariff) -> Decimal | None:
    spot = sum([pod.spot for pod in pods])
    return tariff.hourly(variant.accelerator_class, variant.accelerator_count, len(pods) - spot, spot)


def _worked_at_s(known_s: float | None, seen: Seen, now: float, *, wanted: bool) -> float | None:
    """When the variant last had work; one that is wanted and was never seen at work counts from now."""
    if seen.working or wanted:
        return now
    return min(now, seen.worked_at_s) if seen.worked_at_s > (known_s or 0.0) else known_s


def _learned(old: VariantMemory, variant: Variant, seen: Seen, startup_s: float, current: int, now: float) -> VariantMemory:  # noqa: PLR0917  as above
    """Memory of one variant after this pass's readings: concurrency, how its starts go and what its pods show. Work is `_worked_at_s`."""
    if seen.busy and old.start_at_s is None and not old.failed_starts and old.parked_until_s is None and not seen.spot and old.health.spot is None:
        return old
    batch = old.batch
    if variant.profile is None and seen.best_pod is not None:
        batch = capacity.learned_batch(batch, *seen.best_pod)
    start_at_s, failed, parked_until_s = old.start_at_s, old.failed_starts, old.parked_until_s
    if seen.ready > 0 or seen.stuck or seen.resting:
        start_at_s, failed, parked_until_s = None, 0, None
    elif current <= 0:
        start_at_s = None
    elif start_at_s is None or (seen.unschedulable and seen.unschedulable == seen.pods):
        start_at_s = now
    elif _start_failed(seen, max(startup_s, seen.patience_s), now - start_at_s):
        start_at_s, failed = now, failed + 1
        if failed >= FAILED_STARTS:
            parked_until_s = now + min(PARK_MAX_S, PARK_S * math.ldexp(1.0, min(10, failed - FAILED_STARTS)))
    health = old.health
    if seen.starting or seen.stalled or health.starting or health.stalled or seen.homes or seen.woken_s:
        health = _shown(health, seen)
    if seen.spot or health.spot is not None:
        evicted = health.replaced_at_s is not None and health.spot is not None and health.replaced_at_s >= health.spot.at_s
        spot = reclaim.observed(health.spot, seen.spot, seen.pods, current, now, ours=int(evicted))
        health = replace(health, spot=spot)
    same = start_at_s == old.start_at_s and batch == old.batch and failed == old.failed_starts and parked_until_s == old.parked_until_s
    if same and (health is old.health or health == old.health):
        return old
    return VariantMemory(
        old.needs, batch, old.work_at_s, start_at_s, failed, parked_until_s, old.slowness, old.slow_at_s, old.gaps, health, old.slow_known
    )


def _shown(old: Health, seen: Seen) -> Health:
    """The evidence after this pass: who starts, who is stalled, how long starts took, and whether on a node that had served the variant before."""
    starts_s, at_home, homes = old.starts_s, old.at_home, startup.housed(old.homes, seen.homes)
    if seen.started_s:
        starts_s = (*starts_s, *seen.started_s)[-startup.KEEP :]
        for node in seen.started_on:
            at_home = (*at_home, node in homes)[-startup.KEEP :] if node else ()
            homes = startup.housed(homes, (node,)) if node else homes
    wakes_s = (*old.wakes_s, *seen.woken_s)[-startup.KEEP :] if seen.woken_s else old.wakes_s
    return replace(old, starting=seen.starting, starts_s=starts_s, stalled=seen.stalled, at_home=at_home, homes=homes, wakes_s=wakes_s)


def _start_failed(seen: Seen, startup_s: float, age_s: float) -> bool:
    """Crashing for a whole startup time, or not ready after three of them."""
    if seen.failed and seen.failed == seen.pods:
        return age_s >= max(10.0, startup_s)
    return age_s >= 3.0 * startup_s + 60.0
