"""One deployment's plan at a given budget pressure: shares, work, replicas, and why.

Routing decides first how much of each class goes to which variant; capacity turns that into work, sizing into replicas; then come the rules about
moving: up at once, down only after the need stayed lower for a window, to zero only when idle by every account, from zero only the variant that held
requests wait for (or one that steady traffic needs). Replicas are computed anew each pass from what is seen; nothing integrates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from jevons.core import budget, capacity, idle, routing, sizing
from jevons.core.demand import ClassLoad, promise
from jevons.core.facts import Facts, VariantFacts
from jevons.core.routing import Option, Split, Splits
from jevons.core.snapshot import RouterCurve
from jevons.core.spec import RoutingMode

START_PER_MINUTE = 3.0
"""Requests a minute that start a sleeping variant by plan (without anybody held for it)."""
WINDOW_S = (30.0, 600.0)
AUTO_LATE_FACTOR = 10.0
"""lateAnswerCost Auto: ten times what one request costs."""
SECONDS_PER_TOKEN = 0.03
"""Stands in for an unknown pace where costs of variants without a profile are compared."""
DEFAULT_TOKENS = (capacity.tokens(None, capacity.DEFAULT_INPUT_TOKENS), capacity.tokens(None, capacity.DEFAULT_OUTPUT_TOKENS))
MAX_COMPENSATION = 2
"""Replicas ordered beyond the need for pods that do not become ready, while others of the variant do."""


@dataclass(slots=True)
class VariantPlan:
    """What one variant should have."""

    facts: VariantFacts
    share: float = 0.0
    """Of all arrivals."""
    per_s: float = 0.0
    """Arrivals meant for it now [1/s]."""
    work: float = 0.0
    """Need in replicas, without headroom."""
    capacity_per_s: float | None = None
    concurrency: float = capacity.DEFAULT_BATCH
    reachable: bool = True
    need: int = 0
    """Replicas that the work needs, headroom included, before the rules about moving."""
    replicas: int = 0
    recommended: int | None = None
    """What it should have if it were ours to move."""
    reason: str = "Steady"
    needs: tuple[tuple[float, int], ...] = ()
    idle_in_s: float | None = None


@dataclass(slots=True)
class Plan:
    """What one deployment should have at one step of pressure."""

    step: int
    best: str
    wake: str
    variants: list[VariantPlan]
    splits: dict[str, Split] = field(default_factory=dict)
    usd_per_h: float = 0.0
    """Of all replicas with a known price."""
    unpriced: bool = False
    """A variant that has or gets replicas has no usable price."""
    degraded_share: float = 0.0
    binding: list[str] = field(default_factory=list)
    """Bounds of the spec that bind."""


@dataclass(slots=True)
class Question:
    """One class's routing question; only the margin and the degraded share of its answer depend on pressure."""

    load: ClassLoad
    weight: float
    """Of its arrivals in all of the deployment's."""
    arrives: bool
    splits: Splits | None
    """None where nothing is routed by score."""


@dataclass(slots=True)
class Ground:
    """What the plans of one deployment at all pressures share."""

    facts: Facts
    best: str
    wake: str
    alone: Split
    """All to the best variant: the answer where nothing is routed by score."""
    routed: bool
    questions: tuple[Question, ...]
    held: Mapping[str, int]
    """Held requests by the variant that shall serve them."""
    growth: float
    """Arrivals when a replica ordered now is ready, over those now."""


def ground(facts: Facts, curve: RouterCurve | None) -> Ground:
    """Everything that does not depend on pressure, worked out once."""
    usable = [variant for variant in facts.variants if variant.usable] or list(facts.variants)
    wake = min(usable, key=lambda variant: (_rate(variant), variant.spec.quality)).spec.name
    top = max(usable, key=lambda variant: (variant.spec.quality, -_rate(variant))).spec
    best_quality = facts.spec.best.quality
    routed = len(usable) > 1 and facts.spec.routing.mode is RoutingMode.AUTO
    return Ground(
        facts=facts,
        best=top.name,
        wake=wake,
        alone=Split((), ((top.name, 1.0),), round(min(1.0, top.quality / best_quality) if best_quality > 0 else 1.0, 4)),
        routed=routed,
        questions=_questions(facts, usable if routed else [], curve or routing.FLAT, best_quality or 1.0),
        held=_held(facts, wake),
        growth=max((load.ahead_per_s / load.now_per_s for load in facts.loads if load.now_per_s > 0), default=1.0),
    )


def _questions(facts: Facts, usable: list[VariantFacts], curve: RouterCurve, best_quality: float) -> tuple[Question, ...]:
    total = sum(load.now_per_s for load in facts.loads)
    priced = all(variant.usd_per_h is not None for variant in usable)
    made = []
    for load in (*facts.loads, *_silent(facts)):
        weight = load.now_per_s / total if total > 0 else 1.0 / max(1, len(facts.loads))
        splits = None
        if usable:
            options = tuple([Option(variant.spec.name, variant.spec.quality, _cost(variant, load, priced=priced)) for variant in usable])
            splits = routing.splits(options, best_quality, routing.score_shares(load.scores), curve)
        made.append(Question(load, weight, load.now_per_s + load.ahead_per_s > 0.0, splits))
    return tuple(made)


def make(ground: Ground, step: int) -> Plan:
    """The plan at pressure step / PRESSURE_STEPS."""
    facts, pressure = ground.facts, step / budget.PRESSURE_STEPS
    plans = [VariantPlan(variant) for variant in facts.variants]
    plan = Plan(step, ground.best, ground.wake, plans)
    _route(ground, plan, pressure)
    quantile = sizing.headroom_quantile(facts.spec.objectives.percentile, pressure)
    for item in plans:
        held = ground.held.get(item.facts.spec.name, 0)
        _size(item, held, quantile, ground.growth)
        _move(facts, plan, item, held)
    if facts.fallback:
        _fall_back(facts, plan)
    plan.usd_per_h = sum([item.replicas * (item.facts.usd_per_h or 0.0) for item in plans])
    for item in plans:
        if item.facts.usd_per_h is None and (item.replicas or item.facts.current):
            plan.unpriced = True
    return plan


def _rate(variant: VariantFacts) -> float:
    return variant.usd_per_h if variant.usd_per_h is not None else float(variant.spec.accelerator_count)


def _route(ground: Ground, plan: Plan, pressure: float) -> None:
    """Split every class over the variants and add up shares, rates and work."""
    if ground.routed:
        plan.degraded_share = pressure * ground.facts.spec.routing.max_degraded_share
    margin = routing.MARGIN * (1.0 - pressure)
    by_name = {item.facts.spec.name: item for item in plan.variants}
    for question in ground.questions:
        split = ground.alone
        if question.splits is not None:
            split = question.splits.at(min_quality=min(1.0, question.load.min_quality + margin), degraded_share=plan.degraded_share)
        plan.splits[question.load.name] = split
        if question.arrives:
            for name, share in split.shares:
                if share > 0.0:
                    _add(by_name[name], question.load, share, question.weight)


def _silent(facts: Facts) -> list[ClassLoad]:
    """Classes nobody has reported yet: they get thresholds from the flat prior, so that the first request is routed too."""
    known = {load.name for load in facts.loads}
    return [ClassLoad(name, 0.0, 0.0, *DEFAULT_TOKENS, *promise(facts.spec, name), ()) for name in facts.class_names if name not in known]


def _cost(variant: VariantFacts, load: ClassLoad, *, priced: bool) -> float:
    """What a request costs on the variant at full use, to three digits: USD where all prices are known, else accelerator hours."""
    per_h = _rate(variant) if priced else float(variant.spec.accelerator_count)
    return _three_digits(per_h / (3600.0 * _capacity(variant, load).requests_per_s))


@lru_cache(maxsize=4096)
def _three_digits(cost: float) -> float:
    return float(f"{cost:.3g}")


def _capacity(variant: VariantFacts, load: ClassLoad) -> capacity.Capacity:
    found = variant.capacities.get(load.name)
    if found is None:
        profile = variant.spec.profile
        if profile is None:
            batch = variant.memory.batch or capacity.DEFAULT_BATCH
            found = capacity.Capacity(batch / (load.output_tokens * SECONDS_PER_TOKEN), batch, "Learned")
        else:
            made = load.objectives
            found = capacity.kept(profile, load.input_tokens, load.output_tokens, itl_s=made.itl_s, ttft_s=made.ttft_s, percentile=made.percentile)
        variant.capacities[load.name] = found
    return found


def _add(item: VariantPlan, load: ClassLoad, share: float, weight: float) -> None:
    """Add one class's share to a variant: rate, work ahead, and the mix of concurrency."""
    variant, one = item.facts, _capacity(item.facts, load)
    per_s = share * load.now_per_s
    work = share * load.ahead_per_s / one.requests_per_s if variant.spec.profile is not None else 0.0
    before, after = item.work, item.work + work
    if after > 0.0:
        item.concurrency = (item.concurrency * before + one.concurrency * work) / after
    elif variant.spec.profile is not None or item.share == 0.0:
        item.concurrency = one.concurrency
    item.share += share * weight
    item.per_s += per_s
    item.work = after
    item.reachable &= one.reachable
    item.capacity_per_s = item.per_s / item.work if item.work > 0 and item.per_s > 0 else one.requests_per_s if variant.spec.profile else None


def _held(facts: Facts, wake: str) -> dict[str, int]:
    """Held requests by the variant that shall serve them: the one they wait for, or the cheapest usable one when that cannot start."""
    held: dict[str, int] = {}
    if facts.held:
        usable = {variant.spec.name for variant in facts.variants if variant.usable}
        for waiting in facts.state.held:
            if waiting.count > 0:
                name = waiting.variant if waiting.variant in usable else wake
                held[name] = held.get(name, 0) + waiting.count
    return held


def _size(item: VariantPlan, held: int, quantile: float, growth: float) -> None:
    """Replicas the variant needs: from the gateway's arrivals, from what its engines run, from its GPUs where they show no queue."""
    variant, seen = item.facts, item.facts.seen
    if variant.spec.profile is None:
        item.concurrency = variant.memory.batch or capacity.DEFAULT_BATCH
    observed = (seen.running + seen.waiting + held) / item.concurrency
    if item.work > 0.0:
        need = max(sizing.replicas_for(item.work, item.concurrency, quantile=quantile), math.ceil(observed - 1e-9))
    else:
        need = sizing.replicas_for(observed * growth, item.concurrency, quantile=quantile) if observed > 0.0 else 0
        if variant.spec.profile is None and seen.waiting > 0 and seen.ready > 0:
            # nobody knows what a replica can do: a queue says not this much, so up to twice what is ready
            need = min(max(need, seen.ready + 1), 2 * seen.ready)
    item.work = max(item.work, observed)
    if seen.utils:
        need = max(need, sizing.replicas_for_utilisation(seen.utils, len(seen.utils)) if max(seen.utils) > idle.QUIET_UTIL else min(need, 1))
    if need and seen.ready:
        need += min(MAX_COMPENSATION, seen.failed + seen.overdue)
    item.need = need


def _move(facts: Facts, plan: Plan, item: VariantPlan, held: int) -> None:
    """From the need to replicas: the rules about going up, down, to zero and from zero, then min and max."""
    variant, current = item.facts, item.facts.current
    item.needs = variant.memory.needs
    if variant.fixed and variant.fixed not in {"ForeignScaling", "Recommend"}:
        item.replicas, item.reason = current, variant.fixed
        return
    if variant.parked and not variant.fixed:
        item.replicas, item.reason, item.needs = 0, "StartFailed", ()
        return
    need, reason = item.need, "Demand"
    if need and not held and not variant.seen.working and variant.spec.min_replicas == 0 and _silent_for(facts, _keep_s(facts, item)):
        need = 0
    if current == 0 and need > 0 and not held and variant.spec.min_replicas == 0 and not _starts_by_plan(plan, item):
        need = 0
    low = max(need, variant.spec.min_replicas)
    if low > current:
        reason = "Wake" if held and current == 0 else reason if need > current else "Minimum"
    elif low < current:
        low, reason = _down(facts, plan, item, held, low)
    else:
        reason = "Steady"
    item.needs = _remembered(item.needs, item.need, facts.now, window_s(variant.spec.startup_s), current)
    if low > variant.spec.max_replicas:
        low, reason = variant.spec.max_replicas, "Maximum"
        plan.binding.append(f"spec.variants[{variant.spec.name}].replicas.max")
    if reason == "Idle":
        item.needs = ()
    item.replicas, item.reason = low, reason
    if variant.fixed:
        item.recommended, item.replicas, item.reason = low, current, variant.fixed


def _starts_by_plan(plan: Plan, item: VariantPlan) -> bool:
    """Steady traffic for a sleeping variant while another one serves: enough of it to be worth a start without anybody waiting."""
    others = any(other.facts.seen.ready for other in plan.variants if other is not item)
    return others and item.per_s * 60.0 >= START_PER_MINUTE


def _down(facts: Facts, plan: Plan, item: VariantPlan, held: int, low: int) -> tuple[int, str]:
    """How far down, from `current` towards `low`, and the reason."""
    variant, current, seen = item.facts, item.facts.current, item.facts.seen
    if facts.no_down:
        return current, facts.no_down
    if low == 0 and not held:
        asleep, reason = _asleep(facts, plan, item)
        if asleep:
            return 0, "Idle"
        low = 1
        if current == 1:
            return 1, reason
    low = max(1, low)
    if low + seen.unseen >= current:
        return current, "PodsUnseen" if low < current else "Steady"
    low += seen.unseen
    if not seen.quiet and item.work <= 0.0 and not seen.utils:
        return current, seen.gpu
    window = window_s(variant.spec.startup_s)
    held_level = _needed_lately(variant.memory.needs, facts.now, window, current)
    return (low, "Demand") if held_level <= low else (min(current, held_level), "Stabilising")


def _asleep(facts: Facts, plan: Plan, item: VariantPlan) -> tuple[bool, str]:
    """Whether a variant without need may go to zero: no work, a quiet GPU, and idle for longer than keeping it is worth."""
    variant, seen = item.facts, item.facts.seen
    keep_s = _keep_s(facts, item)
    if seen.working or (item.per_s * keep_s >= 1.0 and not _silent_for(facts, keep_s)):
        return False, "Demand"
    if seen.unseen:
        return False, "PodsUnseen"
    if not seen.quiet:
        return False, seen.gpu
    last = [variant.memory.work_at_s or 0.0, seen.newest_ready_s]
    if sum(other.facts.usable for other in plan.variants) <= 1 and facts.last_arrival_at_s is not None:
        last.append(facts.last_arrival_at_s)
    item.idle_in_s = max(last) + keep_s - facts.now
    return item.idle_in_s <= 0.0, "IdleSoon"


def _keep_s(facts: Facts, item: VariantPlan) -> float:
    """How long the variant stays without a request [s]: what the spec says, else what its history says."""
    if facts.spec.scaling.idle_after_s is not None:
        return facts.spec.scaling.idle_after_s
    return idle.keep_for_s(item.facts.spec.startup_s, _loss_s(facts, item), facts.gaps)


def _silent_for(facts: Facts, keep_s: float) -> bool:
    """Whether a gateway that reports now has seen no request for that long, whatever the mean over the last minute still says."""
    last_s = facts.state.last_arrival_at_s
    return last_s is not None and facts.now - last_s >= keep_s


def _loss_s(facts: Facts, item: VariantPlan) -> float:
    """What one late answer costs, in seconds of a replica's price (to two digits)."""
    late, rate = facts.spec.objectives.late_cost_usd, item.facts.usd_per_h
    if late is None or rate is None:
        return float(f"{AUTO_LATE_FACTOR / (item.capacity_per_s or 1.0):.2g}")
    return float(f"{float(late) * 3600.0 / rate:.2g}")


def window_s(startup_s: float) -> float:
    """How long a lower need must last before replicas go: twice the startup time, 30 s to 10 min."""
    return min(WINDOW_S[1], max(WINDOW_S[0], 2.0 * startup_s))


def _needed_lately(needs: tuple[tuple[float, int], ...], now: float, window: float, current: int) -> int:
    """The highest need within the window; what there is now, when nothing is remembered."""
    if not needs:
        return current
    return max((need for at_s, need in needs if now - at_s <= window), default=0)


def _remembered(needs: tuple[tuple[float, int], ...], need: int, now: float, window: float, current: int) -> tuple[tuple[float, int], ...]:
    """The window with one more need: at most one entry per level, times refreshed every eighth of the window."""
    if not needs and current > need:
        return ((now, current), (now, need))
    if needs and needs[-1][1] == need and now - needs[-1][0] < window / 8.0 and now - needs[0][0] <= window:
        return needs
    kept = [entry for entry in needs if entry[1] > need and now - entry[0] <= window]
    return (*kept[-15:], (now, need))


def _fall_back(facts: Facts, plan: Plan) -> None:
    """Metrics are gone for long: the agreed number of replicas on the cheapest variant that serves, never fewer than there are."""
    wanted = facts.spec.scaling.fallback_replicas
    serving = [item for item in plan.variants if not item.facts.fixed and not item.facts.parked and item.facts.usable]
    if not serving or sum(item.replicas for item in plan.variants) >= wanted:
        return
    item = min(serving, key=lambda candidate: (candidate.facts.current == 0, _rate(candidate.facts), candidate.facts.spec.name))
    others = sum(other.replicas for other in plan.variants if other is not item)
    item.replicas = max(item.replicas, min(item.facts.spec.max_replicas, wanted - others))
    item.reason = "Fallback"
