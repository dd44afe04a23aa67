"""One deployment's plan at a given budget pressure: shares, work, replicas, and why.

Routing decides first how much of each class goes to which variant; capacity turns that into work, and what of a replica is usable into replicas; then
come the rules about moving (`moving.py`). Replicas are computed anew each pass from what is seen; nothing integrates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from jevons.core import attainment, budget, capacity, idle, moving, reclaim, routing, sizing, usable, waiting
from jevons.core.course import Course, Routes
from jevons.core.demand import ClassLoad, promise
from jevons.core.facts import Facts, VariantFacts
from jevons.core.plan import Plan, VariantPlan
from jevons.core.routing import Option, Split, Splits
from jevons.core.serving import capacity_of, cost
from jevons.core.shadowprices import NO_SHADOW, ShadowPrices
from jevons.core.snapshot import RouterCurve
from jevons.core.spec import RoutingMode

WORTH_TRYING = (97.0, 98.0, 99.0, 99.5, 99.9)
FIRST_START = 0.5
"""A start over the time that its replica then stays at least (`levels.py`), of its price."""
SOONEST_S = 15.0
"""A queue is not meant to be worked off faster than this: a pass comes between."""
BELIEVED_S = 30.0
DEFAULT_TOKENS = (capacity.tokens(None, capacity.DEFAULT_INPUT_TOKENS), capacity.tokens(None, capacity.DEFAULT_OUTPUT_TOKENS))
ROOMY = 0.5
"""A pod that runs less than this part of what it may has room for what waits elsewhere."""
LEAST_OF_NEED = 0.7
"""What a promise that is more than kept may take from the need."""
MAX_COMPENSATION = 2
"""Replicas ordered beyond the need for pods that do not become ready, while others of the variant do."""


@dataclass(slots=True)
class Question:
    """One class's routing question; only the margin and the degraded share of its answer depend on pressure."""

    load: ClassLoad
    weight: float
    """Of its arrivals in all of the deployment's."""
    arrives: bool
    splits: Splits | None
    """None where nothing is routed by score."""


class Promises:
    """The share of requests that each promised percentile asks for in this plan, worked out once."""

    __slots__ = ("_found", "pressure", "tight")

    def __init__(self, pressure: float, tight: float) -> None:
        self.pressure, self.tight = pressure, tight * (1.0 - pressure)
        self._found: dict[float, float] = {}

    @classmethod
    def without_pressure(cls, facts: Facts) -> Promises:
        """Those that a plan without a budget keeps."""
        return cls(0.0, attainment.deviations(facts.memory.attained))

    def of(self, percentile: float) -> float:
        """See `usable.promised`."""
        found = self._found.get(percentile)
        if found is None:
            found = self._found[percentile] = usable.promised(percentile, self.pressure)
        return found


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
    course: Course | None = None
    """Thresholds chosen together with replicas (`steering.py`); None = each class by the rule of `routing.py`."""
    shadow: ShadowPrices = NO_SHADOW
    """Shadow prices of this pass."""
    trouble: str = ""
    """Why there is none although there might be."""


def ground(facts: Facts, curve: RouterCurve | None) -> Ground:
    """Everything that does not depend on pressure, worked out once."""
    usable = [variant for variant in facts.variants if variant.usable] or list(facts.variants)
    cheapest = best = usable[0]
    for variant in usable[1:]:
        if (variant.rate, variant.spec.quality) < (cheapest.rate, cheapest.spec.quality):
            cheapest = variant
        if (variant.spec.quality, -variant.rate) > (best.spec.quality, -best.rate):
            best = variant
    wake, top = cheapest.spec.name, best.spec
    best_quality = max([variant.spec.quality for variant in facts.variants])
    routed = len(usable) > 1 and facts.spec.routing.mode is RoutingMode.AUTO
    return Ground(
        facts=facts,
        best=top.name,
        wake=wake,
        alone=Split((), ((top.name, 1.0),), round(min(1.0, top.quality / best_quality) if best_quality > 0 else 1.0, 4)),
        routed=routed,
        questions=_questions(facts, usable if routed else [], curve or routing.FLAT, best_quality or 1.0),
        held=_held(facts, wake),
        growth=max([load.ahead_per_s / load.now_per_s for load in facts.loads if load.now_per_s > 0], default=1.0),
    )


def _questions(facts: Facts, usable: list[VariantFacts], curve: RouterCurve, best_quality: float) -> tuple[Question, ...]:
    total = sum([load.now_per_s for load in facts.loads])
    priced = None not in [variant.usd_per_h for variant in usable]
    made = []
    for load in (*facts.loads, *_silent(facts)):
        weight = load.now_per_s / total if total > 0 else 1.0 / max(1, len(facts.loads))
        splits = None
        if usable:
            options = tuple([Option(variant.spec.name, variant.spec.quality, cost(variant, load, priced=priced)) for variant in usable])
            splits = routing.splits(options, best_quality, routing.score_shares(load.scores), curve)
        made.append(Question(load, weight, load.now_per_s + load.ahead_per_s > 0.0, splits))
    return tuple(made)


def make(ground: Ground, step: int) -> Plan:
    """The plan at pressure step / PRESSURE_STEPS."""
    plan = _made(ground, step, ground.course)
    # pressure asks for what is cheapest; the course was chosen without it
    ruled = _made(ground, step, None) if step and ground.course is not None else plan
    return ruled if ruled.usd_per_h < plan.usd_per_h - 1e-9 else plan


def _made(ground: Ground, step: int, course: Course | None) -> Plan:
    facts, pressure = ground.facts, step / budget.PRESSURE_STEPS
    plans = [VariantPlan(variant) for variant in facts.variants]
    plan = Plan(step, ground.best, ground.wake, plans, steered=course is not None)
    _route(ground, plan, pressure, course.aim if course is not None else None)
    promises = Promises(pressure, attainment.deviations(facts.memory.attained))
    for item in plans:
        held = ground.held.get(item.facts.spec.name, 0)
        _size(facts, item, held, promises, ground.growth)
        if item.hot_spot:
            plan.binding.append(
                f"{item.facts.seen.queueing} pods of {item.facts.spec.name} queue beside idle ones; more replicas would not help them"
            )
    if course is not None and course.now != course.aim:
        _hold(ground, plan, course, promises)
    for item in plans:
        if item.facts.seen.unprovisioned:
            _stand_in(plan, item)
    for item in plans:
        moving.move(facts, plan, item, ground.held.get(item.facts.spec.name, 0))
    if facts.fallback:
        _fall_back(facts, plan)
    plan.usd_per_h = sum(
        [item.paid * (item.facts.usd_per_h or 0.0) if item.sleepers else item.replicas * (item.facts.usd_per_h or 0.0) for item in plans]
    )
    for item in plans:
        if item.facts.usd_per_h is None and (item.replicas or item.facts.current):
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
    margin = routing.MARGIN * (1.0 - pressure)
    by_name = {item.facts.spec.name: item for item in plan.variants}
    chosen = dict(routes) if routes else {}
    for question in ground.questions:
        split, cuts = ground.alone, chosen.get(question.load.name)
        cut = question.splits.cut(cuts, plan.degraded_share) if question.splits is not None and cuts is not None else None
        if cut is not None:
            split = cut
        elif question.splits is not None:
            split = question.splits.at(min_quality=min(1.0, question.load.min_quality + margin), degraded_share=plan.degraded_share)
        plan.splits[question.load.name] = split
        if question.arrives:
            for name, share in split.shares:
                if share > 0.0:
                    _add(by_name[name], question.load, share, question.weight)
    if ground.routed:
        plan.best = _rest(ground, plan)


def _rest(ground: Ground, plan: Plan) -> str:
    """Of several best variants the one that answers what is nobody else's, as most requests have it."""
    last = plan.splits[max(ground.questions, key=lambda question: question.weight).load.name].shares[-1][0]
    quality = {variant.spec.name: variant.spec.quality for variant in ground.facts.variants}
    return last if quality[last] == quality[ground.best] else ground.best


def _silent(facts: Facts) -> list[ClassLoad]:
    """Classes nobody has reported yet: they get thresholds from the flat prior, so that the first request is routed too."""
    known = {load.name for load in facts.loads}
    return [ClassLoad(name, 0.0, 0.0, *DEFAULT_TOKENS, *promise(facts.spec, name), ()) for name in facts.class_names if name not in known]


def _add(item: VariantPlan, load: ClassLoad, share: float, weight: float) -> None:
    """Add one class's share to a variant: its rate, and its work ahead with the variance of that."""
    one = capacity_of(item.facts, load)
    if item.facts.spec.profile is not None:
        work = share * load.ahead_per_s / one.requests_per_s
        if load.patience_s:
            item.patient.append((work, one))
        else:
            item.work += work
            item.parts.append((work, one, load.objectives.percentile))
            item.dispersion = max(item.dispersion, load.dispersion)
        if one.inside is not None and not load.patience_s:
            item.variance += work * one.inside.dispersion(load.dispersion) / (one.requests_per_s * one.inside.tau_s) + work * work * load.doubt
    item.share += share * weight
    item.per_s += share * load.now_per_s
    item.reachable &= one.reachable


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


def _size(facts: Facts, item: VariantPlan, held: int, promises: Promises, growth: float) -> None:
    """Replicas the variant needs: from the gateway's arrivals, from what its engines run, from its GPUs where they show no queue."""
    variant, seen = item.facts, item.facts.seen
    if variant.spec.profile is None:
        item.concurrency = variant.memory.batch or capacity.DEFAULT_BATCH
    late_cost = facts.spec.objectives.late_cost_usd
    needed = _needed(item, promises, late_cost)
    # what waits on one pod beside idle ones is for the router to mend: other replicas would not take it over
    item.hot_spot = seen.roomiest is not None and seen.queueing > 0 and seen.roomiest <= ROOMY * item.concurrency
    waiting = 0.0 if item.hot_spot else seen.waiting
    if needed > 0.0:
        # arrivals say how much is needed; what runs says no more than that the present fleet is in use (in a burst all of it prefills)
        observed = min(float(seen.ready), seen.running / item.concurrency)
        present = seen.running + waiting + held
        if not item.hot_spot and present > seen.ready * item.concurrency:
            needed += _catching_up(item, present, late_cost)
        need = max(1, math.ceil(max(needed, observed) - 1e-9))
    else:
        observed = (seen.running + waiting + held) / item.concurrency
        quantile = sizing.headroom_quantile(facts.spec.objectives.percentile, promises.pressure)
        need = sizing.replicas_for(observed * growth, item.concurrency, quantile=quantile) if observed > 0.0 else 0
        if variant.spec.profile is None and waiting > 0 and seen.ready > 0:
            # nobody knows what a replica can do: a queue says not this much, so up to twice what is ready
            need = min(max(need, seen.ready + 1), 2 * seen.ready)
    item.work = max(item.work, observed)
    if seen.utils:
        need = max(need, sizing.replicas_for_utilisation(seen.utils, len(seen.utils)) if max(seen.utils) > idle.QUIET_UTIL else min(need, 1))
    if need and variant.memory.health.spot is not None:
        missing = reclaim.missing_share(variant.memory.health.spot, variant.startup_s) * (1.0 - promises.pressure)
        need = reclaim.ordered(need, missing, 1.0 - facts.spec.objectives.percentile / 100.0)
    if need and seen.ready:
        # a stuck pod that is replaced in this very pass makes room for its successor itself
        need += min(MAX_COMPENSATION, seen.failed + seen.overdue + len(seen.stuck) - variant.replaceable)
    item.need = need


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
    if not item.parts:
        return waiting.needed(item) if item.patient else 0.0
    work = item.work
    deviation = usable.noise(item.variance, work) if work > 0.0 else 0.0
    needed = concurrency = served = fluid = 0.0
    for part, one, percentile in item.parts:
        share = one.inside.kept(promises.of(percentile)).share(deviation) if one.inside is not None else 1.0
        needed += part / share
        weight = part / work if work > 0.0 else 1.0 / len(item.parts)
        concurrency += weight * one.concurrency
        served += weight * share * one.requests_per_s
        fluid += weight * one.requests_per_s
    item.concurrency, item.fluid_per_s = max(1.0, concurrency), fluid
    needed = max(LEAST_OF_NEED * needed, needed + promises.tight * math.sqrt(item.variance))
    if late_cost_usd is not None and late_cost_usd.is_finite() and needed > 0.0 and not promises.pressure:
        needed = _worthwhile(item, promises, needed, deviation, late_cost_usd)
    needed = max(needed, waiting.filled(item))
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
    if not serving or sum(item.replicas for item in plan.variants) >= wanted:
        return
    item = min(serving, key=lambda candidate: (candidate.facts.current == 0, candidate.facts.rate, candidate.facts.spec.name))
    others = sum(other.replicas for other in plan.variants if other is not item)
    item.replicas = max(item.replicas, min(item.facts.spec.max_replicas, wanted - others))
    item.reason = "Fallback"
