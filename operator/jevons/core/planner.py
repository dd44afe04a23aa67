"""One deployment's plan at a given budget pressure: shares, work, replicas, and why.

Routing decides first how much of each class goes to which variant; capacity turns that into work, and what of a replica is usable into replicas; then
come the rules about moving (`moving.py`). Replicas are computed anew each pass from what is seen; nothing integrates.
"""

# ruff: noqa: FURB136, PLR1730  max and min cost eight times what a comparison does
from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal

from jevons.core import attainment, budget, capacity, idle, moving, reclaim, routing, sizing, usable, waiting
from jevons.core.course import Course, Cuts, Routes
from jevons.core.demand import ClassLoad
from jevons.core.facts import Facts, VariantFacts
from jevons.core.ground import Ground, Promises, promises_at
from jevons.core.plan import Plan, VariantPlan
from jevons.core.serving import capacity_of

WORTH_TRYING = (97.0, 98.0, 99.0, 99.5, 99.9)
FIRST_START = 0.5
"""A start over the time that its replica then stays at least (`levels.py`), of its price."""
SOONEST_S = 15.0
"""A queue is not meant to be worked off faster than this: a pass comes between."""
BELIEVED_S = 30.0
ROOMY = 0.5
"""A pod that runs less than this part of what it may has room for what waits elsewhere."""
LEAST_OF_NEED = 0.7
"""What a promise that is more than kept may take from the need."""
NO_ROUTES: Mapping[str, Cuts] = {}
MAX_COMPENSATION = 2
"""Replicas ordered beyond the need for pods that do not become ready, while others of the variant do."""


def make(ground: Ground, step: int) -> Plan:
    """The plan at pressure step / PRESSURE_STEPS."""
    plan = _made(ground, step, ground.course)
    # pressure asks for what is cheapest; the course was chosen without it
    ruled = _made(ground, step, None) if step and ground.course is not None else plan
    return ruled if ruled.usd_per_h < plan.usd_per_h - 1e-9 else plan


def _made(ground: Ground, step: int, course: Course | None) -> Plan:
    facts, pressure, held = ground.facts, step / budget.PRESSURE_STEPS, ground.held
    plans = [VariantPlan(variant) for variant in facts.variants]
    plan = Plan(step, ground.best, ground.wake, plans)
    plan.steered = course is not None
    _route(ground, plan, pressure, course.aim if course is not None else None)
    promises, short = promises_at(pressure, attainment.deviations(facts.memory.attained)), []
    for item in plans:
        _size(facts, item, held.get(item.facts.spec.name, 0) if held else 0, promises, ground.growth)
        if item.hot_spot:
            plan.binding.append(
                f"{item.facts.seen.queueing} pods of {item.facts.spec.name} queue beside idle ones; more replicas would not help them"
            )
        if item.facts.seen.unprovisioned:
            short.append(item)
    moving.relieve(plan)
    if course is not None and course.now != course.aim:
        _hold(ground, plan, course, promises)
    for item in short:
        _stand_in(plan, item)
    for item in plans:
        moving.move(facts, plan, item, held.get(item.facts.spec.name, 0) if held else 0)
    if facts.fallback:
        _fall_back(facts, plan)
    for item in plans:
        usd_per_h = item.facts.usd_per_h
        if usd_per_h is not None:
            plan.usd_per_h += (item.paid if item.sleepers else item.replicas) * usd_per_h
        elif item.replicas or item.facts.current:
            plan.unpriced = True
    return plan


def asked(ground: Ground, routes: Routes | None) -> tuple[Plan, list[float]]:
    """What the sizing rule asks for at these thresholds (None = the rule's own): a plan with shares alone, and replicas by variant, not rounded."""
    plan = Plan(0, ground.best, ground.wake, [VariantPlan(variant) for variant in ground.facts.variants])
    _route(ground, plan, 0.0, routes)
    promises, late_cost = Promises.without_pressure(ground.facts), ground.facts.spec.objectives.late_cost_usd
    return plan, [_needed(item, promises, late_cost) for item in plan.variants]


def _hold(ground: Ground, plan: Plan, course: Course, promises: Promises) -> None:
    """While what the course aims at starts, requests go where they went, and what serves them there stays (but gets no more)."""
    before = Plan(plan.step, ground.best, ground.wake, [VariantPlan(variant) for variant in ground.facts.variants])
    _route(ground, before, promises.pressure, course.now)
    late_cost = ground.facts.spec.objectives.late_cost_usd
    for item, serving in zip(plan.variants, before.variants, strict=True):
        if serving.parts or serving.patient:
            there = min(item.facts.current, item.facts.seen.ready + round(item.facts.seen.expected))
            item.need = max(item.need, min(there, math.ceil(_needed(serving, promises, late_cost) - 1e-9)))
    plan.splits, plan.best = before.splits, before.best


def _route(ground: Ground, plan: Plan, pressure: float, routes: Routes | None) -> None:
    """Split every class over the variants, by these thresholds or else by the rule, and add up shares, rates and work."""
    if ground.routed:
        plan.degraded_share = pressure * ground.facts.spec.routing.max_degraded_share
    margin, items, places = routing.MARGIN * (1.0 - pressure), plan.variants, ground.places
    chosen = dict(routes) if routes else NO_ROUTES
    for question in ground.questions:
        load, splits, split = question.load, question.splits, None
        if splits is not None:
            cuts = chosen.get(load.name)
            if cuts is not None:
                split = splits.cut(cuts, plan.degraded_share)
            if split is None:
                quality = load.min_quality + margin
                split = splits.at(quality if quality < 1.0 else 1.0, plan.degraded_share)
        else:
            split = ground.alone
        plan.splits[load.name] = split
        if question.arrives:
            for name, share in split.shares:
                if share > 0.0:
                    _add(items[places[name]], load, share, question.weight)
    if ground.routed:
        plan.best = _rest(ground, plan)


def _rest(ground: Ground, plan: Plan) -> str:
    """Of several best variants the one that answers what is nobody else's, as most requests have it."""
    last, variants, places = plan.splits[ground.heaviest].shares[-1][0], ground.facts.variants, ground.places
    return last if variants[places[last]].spec.quality == variants[places[ground.best]].spec.quality else ground.best


def _add(item: VariantPlan, load: ClassLoad, share: float, weight: float) -> None:
    """Add one class's share to a variant: its rate, and its work ahead with the variance of that."""
    variant = item.facts
    one = capacity_of(variant, load)
    if variant.profile is not None:
        per_s = one.requests_per_s
        work = share * load.ahead_per_s / per_s
        if load.patience_s:
            item.patient += ((work, one, load.objectives.percentile),)
        else:
            item.work += work
            item.parts += ((work, one, load.objectives.percentile),)
            if load.dispersion > item.dispersion:
                item.dispersion = load.dispersion
            inside = one.inside
            if inside is not None:
                item.variance += work * inside.dispersion(load.dispersion) / (per_s * inside.tau_s) + work * work * load.doubt
    item.share += share * weight
    item.per_s += share * load.now_per_s
    if not one.reachable:
        item.reachable = False


def _size(facts: Facts, item: VariantPlan, held: int, promises: Promises, growth: float) -> None:
    """Replicas the variant needs: from the gateway's arrivals, from what its engines run, from its GPUs where they show no queue."""
    variant = item.facts
    seen, measured, objectives = variant.seen, variant.profile is not None, facts.spec.objectives
    ready, running, waiting = seen.ready, seen.running, seen.waiting
    if not measured:
        item.concurrency = variant.memory.batch or capacity.DEFAULT_BATCH
    needed = _needed(item, promises, objectives.late_cost_usd) if item.parts or item.patient else 0.0
    concurrency = item.concurrency
    if seen.queueing and seen.roomiest is not None and seen.roomiest <= ROOMY * concurrency:
        # what waits on one pod beside idle ones is for the router to mend: other replicas would not take it over
        item.hot_spot, waiting = True, 0.0
    if needed > 0.0:
        # arrivals say how much is needed; what runs says no more than that the present fleet is in use (in a burst all of it prefills)
        observed = running / concurrency
        if observed > ready:
            observed = float(ready)
        present = running + waiting + held
        if present > ready * concurrency and not item.hot_spot:
            needed += _catching_up(item, present, objectives.late_cost_usd)
        need = math.ceil((needed if needed >= observed else observed) - 1e-9)
        need = need if need > 1 else 1
    else:
        observed = (running + waiting + held) / concurrency
        need = 0
        if observed > 0.0:
            quantile = sizing.headroom_quantile(objectives.percentile, promises.pressure)
            need = sizing.replicas_for(observed * growth, concurrency, quantile)
        if waiting > 0 and ready > 0 and not measured:
            # nobody knows what a replica can do: a queue says not this much, so up to twice what is ready
            need = min(max(need, ready + 1), 2 * ready)
    if observed > item.work:
        item.work = observed
    if seen.utils:
        need = max(need, sizing.replicas_for_utilisation(seen.utils, len(seen.utils)) if max(seen.utils) > idle.QUIET_UTIL else min(need, 1))
    if need and not (seen.busy and variant.memory.health.spot is None):
        need = _with_spares(variant, need, promises.pressure, objectives.percentile)
    item.need = need


def _with_spares(variant: VariantFacts, need: int, pressure: float, percentile: float) -> int:
    """The need with replicas for those that are taken away, and for pods that do not become ready."""
    seen, spot = variant.seen, variant.memory.health.spot
    if spot is not None:
        need = reclaim.ordered(need, reclaim.missing_share(spot, variant.startup_s) * (1.0 - pressure), 1.0 - percentile / 100.0)
    if seen.ready and (seen.failed or seen.overdue or seen.stuck):
        # a stuck pod that is replaced in this very pass makes room for its successor itself
        need += min(MAX_COMPENSATION, seen.failed + seen.overdue + len(seen.stuck) - variant.replaceable)
    return need


def _stand_in(plan: Plan, short: VariantPlan) -> None:
    """No node comes for what a variant still needs: the cheapest other one that is not worse (or else the best there is) gets replicas for that part.

    Requests need no new plan for it: pickers go around a variant that is full or asleep. Those pods stay ordered, in case a node comes after all.
    """
    seen = short.facts.seen
    others = [
        item for item in plan.variants if item is not short and item.facts.usable and not item.facts.seen.unprovisioned and not item.facts.fixed
    ]
    missing = short.need - seen.ready - seen.expected
    if missing <= 0.0 or not others:
        return
    quality = short.facts.spec.quality
    equal = [item for item in others if item.facts.spec.quality >= quality] or others
    other = min(equal, key=lambda item: (-min(quality, item.facts.spec.quality), item.facts.rate, item.facts.spec.name))
    served, serves = short.facts.capacities, other.facts.capacities
    size = max((one.requests_per_s / serves[name].requests_per_s for name, one in served.items() if name in serves), default=1.0)
    other.need += max(1, math.ceil(missing * size - 1e-9))
    other.stands_in = True
    plan.binding.append(f"no node for {seen.unprovisioned} pods of {short.facts.spec.name}; {other.facts.spec.name} stands in")


def _catching_up(item: VariantPlan, present: float, late_cost_usd: Decimal | None) -> float:
    """Replicas beyond the steady need, to work off what is queued.

    `m` more of them cost m start-ups and end the lateness m times sooner, while every request that arrives is late: m = sqrt(loss rate * queue /
    startup). What those that are ready or coming work off within BELIEVED_S asks for none: a queue that stays longer says that they are slower than
    thought.
    """
    variant, seen = item.facts, item.facts.seen
    per_s = item.fluid_per_s
    queued_s = (present - seen.ready * item.concurrency) / per_s
    queued_s -= max(0.0, seen.ready + seen.expected - item.work) * min(BELIEVED_S, variant.startup_s)
    if queued_s <= 0.0:
        return 0.0
    loss_s = sizing.late_loss_s(late_cost_usd, variant.usd_per_h, per_s)
    return min(queued_s / SOONEST_S, math.sqrt(loss_s * per_s * item.work * queued_s / max(SOONEST_S, variant.startup_s)))


def _needed(item: VariantPlan, promises: Promises, late_cost_usd: Decimal | None) -> float:
    """Replicas for the work by class: a class that may use less of a replica needs more of them. Settles what one replica serves and runs, too."""
    work, parts = item.work, item.parts
    if not parts:
        return waiting.needed(item, promises) if item.patient else 0.0
    deviation = usable.noise(item.variance, work) if work > 0.0 else 0.0
    needed = concurrency = served = fluid = 0.0
    for part, one, percentile in parts:
        inside, per_s = one.inside, one.requests_per_s
        share = inside.kept(promises.of(percentile)).share(deviation) if inside is not None else 1.0
        needed += part / share
        weight = part / work if work > 0.0 else 1.0 / len(parts)
        concurrency += weight * one.concurrency
        served += weight * share * per_s
        fluid += weight * per_s
    item.concurrency, item.fluid_per_s = concurrency if concurrency > 1.0 else 1.0, fluid
    if promises.tight:
        needed = max(LEAST_OF_NEED * needed, needed + promises.tight * math.sqrt(item.variance))
    if late_cost_usd is not None and late_cost_usd.is_finite() and needed > 0.0 and not promises.pressure:
        needed = _worthwhile(item, promises, needed, deviation, late_cost_usd)
    if item.patient:
        needed = max(needed, waiting.filled(item, promises))
    item.capacity_per_s = item.per_s / needed if needed > 0.0 and item.per_s > 0.0 else served
    return needed


def _worthwhile(item: VariantPlan, promises: Promises, needed: float, deviation: float, late_cost_usd: Decimal) -> float:
    """More replicas than the promise asks for, where a late answer costs more than they do (the newsvendor's ratio, over a few percentiles).

    A replica that would have to start first costs FIRST_START more. The promise itself is never given up for money: that is the budget's business.
    """
    loss_s = sizing.late_loss_s(late_cost_usd, item.facts.usd_per_h, item.fluid_per_s)
    best, cost = needed, math.inf
    for percentile in (None, *WORTH_TRYING):
        fleet = late_per_s = 0.0
        for part, one, promised in item.parts:
            promise = promises.of(promised if percentile is None else max(percentile, promised))
            fleet += part / (one.inside.kept(promise).share(deviation) if one.inside is not None else 1.0)
            late_per_s += part * one.requests_per_s * (1.0 - promise)
        asked = fleet + FIRST_START * max(0.0, math.ceil(fleet) - item.facts.current) + loss_s * late_per_s
        if asked < cost:
            best, cost = fleet, asked
    return max(needed, best)


def _fall_back(facts: Facts, plan: Plan) -> None:
    """Metrics are gone for long: the agreed number of replicas on the cheapest variant that serves, never fewer than there are."""
    wanted = facts.spec.scaling.fallback_replicas
    serving = [item for item in plan.variants if not item.facts.fixed and not item.facts.parked and item.facts.usable]
    if not serving or sum(item.replicas - item.sleepers for item in plan.variants) >= wanted:
        return
    item = min(serving, key=lambda candidate: (candidate.facts.current == 0, candidate.facts.rate, candidate.facts.spec.name))
    others = sum(other.replicas for other in plan.variants if other is not item)
    item.replicas = max(item.replicas, min(item.facts.spec.max_replicas, wanted - others))
    item.reason, item.sleepers = "Fallback", 0
