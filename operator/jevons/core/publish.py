"""From a funded plan to what the shell carries out and shows: replica targets, the routing plan, money, events, and the memory to keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Any, TypeAlias

from jevons.core import attainment, capacity, conditions, season, speed, stuck, waiting
from jevons.core.budget import PRESSURE_STEPS
from jevons.core.course import Course
from jevons.core.demand import ClassLoad
from jevons.core.explain import explanation
from jevons.core.facts import NOT_NOW, UNTRIED
from jevons.core.funding import Funded
from jevons.core.health import Starting
from jevons.core.memory import Attained, DeploymentMemory, VariantMemory
from jevons.core.money import ZERO
from jevons.core.observed import Unknown
from jevons.core.periods import bounds
from jevons.core.plan import Plan, VariantPlan
from jevons.core.snapshot import (
    ClassRoute,
    Condition,
    CostView,
    DeploymentDecision,
    EventNote,
    Explanation,
    ReplicaTarget,
    RoutingPlan,
    Snapshot,
    VariantRoute,
)
from jevons.core.spec import Objectives, Period, Profile, Promotion

MICRO = Decimal("0.000001")
ORDINARY = Objectives()
SHADOW, MONTH = Promotion.SHADOW, Period.MONTH
QUIET = {"Steady", "Paused", "Recommend", "IdleSoon", "Demand", "Asleep"}
"""Reasons that need no attention; the deployment's own reason is the first other one."""


SIZED = {"Steady", "Demand", "Minimum", "Maximum"}
"""Reasons that the size itself explains."""
SENTENCES: dict[str, Callable[[VariantPlan, str], str]] = {
    "Wake": lambda item, name: f"waking {name} for {item.facts.held} waiting requests, about {_wait_s(item):.0f} s",
    "Idle": lambda item, name: f"{name} had no work and a quiet GPU for longer than keeping it is worth{_sleepless(item)}",
    "Sleep": lambda _, name: f"{name} had no work and a quiet GPU for longer than loading it is worth; it sleeps in host memory",
    "Asleep": lambda item, name: f"{name} sleeps in host memory; a request wakes it in about {_wait_s(item):.0f} s",
    "Prewarm": lambda item, name: f"loading {name} ahead of a likely call: {item.foretold}",
    "IdleSoon": lambda item, name: f"{name} is idle; it sleeps in {max(0.0, item.idle_in_s or 0.0):.0f} s",
    "ReplicaStuck": lambda item, name: f"{name}: {_standstill(item)}; another pod takes its place",
    "StartFailed": lambda item, name: f"{name} did not become ready in {item.facts.memory.failed_starts} starts and is parked",
    "BudgetCap": lambda item, name: f"the budget carries {item.replicas} of the {item.need} replicas that {name} needs",
    "AcceleratorLimit": lambda item, name: f"its AcceleratorClass has room for {item.replicas} of {name}; {item.need} are needed",
}
"""Other reasons as sentences with numbers."""


def decision(funded: Funded, snapshot: Snapshot) -> DeploymentDecision:
    """Everything decided for one deployment."""
    facts = funded.facts
    targets = tuple([target(item) for item in funded.plan.variants])
    routes = routing_plan(funded)
    found = conditions.all_of(funded, snapshot)
    leading = _leading(targets)
    reason, message = (leading.reason, leading.message) if leading is not None else ("NoVariants", "")
    return DeploymentDecision(
        facts.spec.key,
        digest(facts.spec.uid, targets, routes, found),
        targets,
        routes,
        found,
        cost(funded),
        reason,
        message,
        Explanation.later(partial(explanation, funded, snapshot.metrics)),
        events(funded, targets),
    )


def _leading(targets: tuple[ReplicaTarget, ...]) -> ReplicaTarget | None:
    """The one whose reason is the deployment's own: the first that moves, else the first that needs attention, else the first."""
    loud = None
    for item in targets:
        if item.desired is not None and item.desired != (item.current or 0):
            return item
        if loud is None and item.reason not in QUIET:
            loud = item
    return loud or (targets[0] if targets else None)


def digest(uid: str, targets: tuple[ReplicaTarget, ...], routes: RoutingPlan, found: tuple[Condition, ...]) -> str:
    """Twelve hex digits that are equal for equal decisions: replicas, routes and conditions, without the figures in messages."""
    return _digest(
        (uid, routes.best, routes.wake, routes.rung.value, routes.blocked_until_s),
        tuple(
            [
                (item.variant, item.desired, item.recommended, item.reason, (item.replace, *item.asleep) if item.asleep else item.replace)
                for item in targets
            ]
        ),
        tuple([(item.name, item.state, item.usd_per_1k_tokens) for item in routes.variants]),
        tuple([(item.name, item.min_score, item.degraded_share) for item in routes.classes]),
        tuple([(item.status, item.reason) for item in found]),
    )


Rows: TypeAlias = tuple[tuple[Any, ...], ...]


@lru_cache(maxsize=2048)
def _digest(whole: tuple[Any, ...], targets: Rows, variants: Rows, classes: Rows, found: Rows) -> str:
    uid, *routes = whole
    parts = (uid, list(targets), *routes, list(variants), list(classes), list(found))
    return blake2b(repr(parts).encode(), digest_size=6).hexdigest()


def target(item: VariantPlan) -> ReplicaTarget:
    """What one variant should have, and why."""
    variant, name, current = item.facts, item.facts.spec.name, item.facts.target.replicas
    stuck_pods = tuple([pod.name for pod in variant.seen.stuck]) if variant.seen.stuck else ()
    if variant.fixed:
        said = variant.target.message or _size(item)
        return ReplicaTarget(name, current, None, variant.fixed, said, item.recommended, stuck_pods)
    replaces = item.replaces if variant.replaceable else ""
    if replaces and item.replicas == variant.current:
        item.reason = "ReplicaStuck"
    said = _size(item) if item.reason in SIZED else message(item)
    return ReplicaTarget(
        name, current, item.replicas, item.reason, said, item.recommended, stuck_pods, replaces, item.asleep if item.sleepers else ()
    )


def _size(item: VariantPlan) -> str:
    variant = item.facts
    return conditions.size_message(item.replicas, variant.spec.name, item.per_s, item.capacity_per_s, item.concurrency, variant.seen.waiting)


def _standstill(item: VariantPlan) -> str:
    """The stuck pod that is replaced, as a sentence."""
    seen = item.facts.seen
    at_s, since_s = next((now, since) for uid, since, now in seen.stalled if uid == seen.stuck[0].uid)
    if seen.stuck[0].marked_at_s is not None:
        return f"{seen.stuck[0].name} was asleep and has not woken for {at_s - since_s:.0f} s"
    return f"{seen.stuck[0].name} has had requests, a quiet GPU and no tokens for {at_s - since_s:.0f} s"


def message(item: VariantPlan) -> str:
    """A reason that the size does not explain, as a sentence with numbers."""
    write = SENTENCES.get(item.reason)
    return write(item, item.facts.spec.name) if write is not None else f"{_size(item)}; held at {item.replicas}: {item.reason}"


def state(item: VariantPlan, funded: Funded) -> str:
    """How pickers should see the variant (0001-the-house.md)."""
    variant = item.facts
    name = variant.spec.name
    if variant.spec.promotion is SHADOW:
        return "Shadow"
    if item.replicas == 0 and (name in funded.shed or name in funded.unaffordable or item.reason == "PriceUnknown"):
        return "Capped"
    if variant.seen.ready:
        return "Ready"
    if variant.parked or (variant.seen.failed and variant.seen.failed == variant.seen.pods):
        return "Failed"
    if item.replicas or variant.current:
        return "Asleep" if item.rests else "Waking"
    return "Unavailable" if not variant.startable or (variant.fixed and variant.fixed not in NOT_NOW) else "Asleep"


def routing_plan(funded: Funded) -> RoutingPlan:
    """What the pickers read."""
    plan, facts = funded.plan, funded.facts
    routes = []
    for item in plan.variants:
        variant, spec = item.facts, item.facts.spec
        routes.append(_route(spec.name, state(item, funded), variant.selector, spec.port, variant.profile, variant.usd_per_h, _wait_s(item)))
    classes = [_class_route(name, plan, waiting.patience_s(facts.spec, name, plan.step / PRESSURE_STEPS)) for name in facts.class_names]
    if facts.spec.classes and any(one.patience_s for one in classes):
        tokens = _tokens(facts.loads)
        routes = [replace(route, idle_tokens=waiting.idle_tokens(item, tokens)) for route, item in zip(routes, plan.variants, strict=True)]
    return RoutingPlan(plan.best, plan.wake, funded.rung, plan.step / 4, funded.blocked_until_s, tuple(routes), tuple(classes))


def _sleepless(item: VariantPlan) -> str:
    """Why it does not sleep in host memory although it should."""
    told = "; its engine does not sleep (start it with --enable-sleep-mode and VLLM_SERVER_DEV_MODE=1), so it is let go"
    return told if item.facts.seen.sleepless and item.facts.spec.sleep is not None else ""


def _wait_s(item: VariantPlan) -> float:
    """How long a client that waits for it is told to wait: a wake, or a whole start, by the node of the pod that starts where it has one."""
    seen = item.facts.seen
    if seen.resting and not seen.ready and item.facts.wake_s is not None:
        return item.facts.wake_s
    return seen.patience_s if seen.patience_s and not seen.ready else item.facts.startup_s


@lru_cache(maxsize=8192)
def _route(name: str, seen_as: str, selector: str, port: int, profile: Profile | None, usd_per_h: float | None, startup_s: float) -> VariantRoute:  # noqa: PLR0917  a cache's key is positional
    return VariantRoute(name, seen_as, selector, port, usd_per_1k_tokens(profile, usd_per_h), startup_s)


def _tokens(loads: Sequence[ClassLoad]) -> float:
    """Mean of a request, in and out, over all classes by their arrivals."""
    total = sum([load.now_per_s for load in loads])
    means = [(load.now_per_s / total if total > 0.0 else 1.0 / len(loads), load.input_tokens + load.output_tokens) for load in loads]
    return sum([weight * tokens for weight, tokens in means]) if means else float(capacity.DEFAULT_INPUT_TOKENS + capacity.DEFAULT_OUTPUT_TOKENS)


def _class_route(name: str, plan: Plan, patience_s: float) -> ClassRoute:
    split = plan.splits.get(name)
    if split is None:
        return ClassRoute(name, (), patience_s=patience_s)
    last = split.shares[-1][0]
    rest = ((last, 0.0),) if last != plan.best and not any(edge <= 0.0 for _, edge in split.min_score) else ()
    return ClassRoute(name, (*split.min_score, *rest), round(plan.degraded_share, 2), split.expected_quality, patience_s)


def usd_per_1k_tokens(profile: Profile | None, usd_per_h: float | None) -> float | None:
    """At full use inside ordinary objectives, for a request of ordinary length; None without price or profile."""
    if usd_per_h is None or profile is None:
        return None
    mean_in, mean_out = capacity.tokens(None, capacity.DEFAULT_INPUT_TOKENS), capacity.tokens(None, capacity.DEFAULT_OUTPUT_TOKENS)
    one = capacity.of_replica(profile, mean_in, mean_out, ORDINARY.itl_s, ORDINARY.ttft_s)
    return float(f"{usd_per_h / 3.6 / (one.requests_per_s * (mean_in + mean_out)):.3g}")


def cost(funded: Funded) -> CostView:
    """Money for status and metrics, over the deployment's own budget period, or the month."""
    facts, account = funded.facts, funded.account
    budget = facts.spec.budget
    start_s, end_s = bounds(budget.period, budget.time_zone, facts.now) if budget is not None else bounds(MONTH, "UTC", facts.now)
    before = account.before(start_s)
    spent, useful = account.usd - before.usd, account.useful - before.useful
    known = {variant.spec.name: variant.hourly for variant in facts.variants if variant.hourly is not None}
    forecast, priced = None, len(known) == len(facts.variants)
    if priced and not funded.plan.unpriced:
        rest = funded.own.expected_usd if funded.own is not None else funded.level_usd_per_h * (end_s - facts.now) / 3600.0
        forecast = (spent + Decimal(f"{rest:.6f}")).quantize(MICRO)
    return CostView(
        sum(known.values(), ZERO) if priced else None,
        known,
        spent,
        forecast,
        (spent * 1000 / Decimal(f"{useful:.0f}")).quantize(MICRO) if useful >= 1.0 else None,
        start_s,
        end_s,
        budget.amount_usd if budget is not None else None,
        account.estimated_at_s is not None and account.estimated_at_s >= start_s,
    )


def events(funded: Funded, targets: tuple[ReplicaTarget, ...]) -> tuple[EventNote, ...]:
    """One event per move, one when a start has just failed for good, and one per stuck pod that is replaced."""
    notes = []
    for item, done in zip(funded.plan.variants, targets, strict=False):
        if item.facts.plain and done.desired == done.current:
            continue
        if done.desired is not None and done.desired != (done.current or 0):
            kind = "Warning" if done.reason in {"BudgetCap", "AcceleratorLimit", "StartFailed"} else "Normal"
            notes.append(EventNote(kind, done.reason, f"{done.variant}: {done.current or 0} -> {done.desired}; {done.message}"))
        elif done.reason == "Sleep":
            notes.append(EventNote("Normal", "Sleep", done.message))
        elif item.facts.parked and item.facts.memory.parked_until_s != _before(funded, done.variant).parked_until_s:
            notes.append(EventNote("Warning", "StartFailed", done.message))
        if done.replace:
            notes.append(EventNote("Warning", "ReplicaStuck", f"{done.variant}: {_standstill(item)}; another pod takes its place"))
    return tuple(notes)


def _before(funded: Funded, variant: str) -> VariantMemory:
    return funded.facts.memory.variants.get(variant, UNTRIED)


def remembered(funded: Funded) -> DeploymentMemory:
    """The memory after this pass; the same object when nothing in it changed."""
    facts = funded.facts
    variants = {}
    for item in funded.plan.variants:
        variant = item.facts
        old, seen, needs, gaps = variant.memory, variant.seen, item.needs, item.gaps
        health = known = old.health
        slowness = _slowness(funded, item) if item.parts else None
        waking = _waking(item, facts.now) if seen.resting or seen.stuck else ()
        if variant.replaceable and item.replaces:
            health = stuck.replaced(health, facts.now)
        if waking != health.waking:
            health = replace(health, waking=waking)
        if slowness is not None or health is not known or needs != old.needs or gaps != old.gaps or variant.work_at_s != old.work_at_s:
            slow, slow_known, slow_at_s = (old.slowness, old.slow_known, old.slow_at_s) if slowness is None else (*slowness, facts.now)
            starts = old.start_at_s, old.failed_starts, old.parked_until_s
            old = VariantMemory(needs, old.batch, variant.work_at_s, *starts, slow, slow_at_s, gaps, health, slow_known)
        variants[variant.spec.name] = old
    old_memory = facts.memory
    attained, course = _attained(funded), _course(funded)
    mean = float(f"{funded.level_usd_per_h:.5g}")
    wanted = season.noted(old_memory.season, funded.wanted_usd_per_h, facts.now) if funded.paces else old_memory.season
    saving = old_memory.saving if funded.saving is None else float(f"{funded.saving:.4g}")
    if (
        facts.trends is old_memory.trends
        and variants == old_memory.variants
        and facts.gaps == old_memory.gaps
        and facts.callers == old_memory.callers
        and facts.last_arrival_at_s == old_memory.last_arrival_at_s
        and attained == old_memory.attained
        and course == old_memory.course
        and mean == old_memory.wanted_usd_per_h == float(f"{funded.wanted_usd_per_h:.5g}")
        and wanted is old_memory.season
        and saving == old_memory.saving
    ):
        return old_memory
    return DeploymentMemory(
        variants, facts.trends, facts.gaps, facts.last_arrival_at_s, mean, facts.now, attained, wanted, saving, facts.callers, course
    )


def _waking(item: VariantPlan, now: float) -> tuple[Starting, ...]:
    """Its pods that were put to sleep and shall be awake, each since when."""
    seen = item.facts.seen
    if not seen.resting and not (seen.stuck and item.facts.memory.health.waking):
        return ()
    since_s = {uid: at_s for uid, at_s, _ in item.facts.memory.health.waking}
    asleep = set() if item.facts.fixed else set(item.asleep)
    marked = [pod for pod in (*seen.resting, *seen.stuck) if pod.marked_at_s is not None and pod.name not in asleep]
    return tuple([(pod.uid, since_s.get(pod.uid, now), now) for pod in marked])


def _course(funded: Funded) -> Course | None:
    """The course with the pressure that it is under, for the next pass's prices."""
    course, pressure = funded.ground.course, funded.plan.step / PRESSURE_STEPS
    return course if course is None or course.pressure == pressure else replace(course, pressure=pressure)


def _attained(funded: Funded) -> Attained | None:
    """The duals of the promise after this pass; each only moves while what it buys could have helped."""
    facts, plan = funded.facts, funded.plan
    if isinstance(facts.state.outcomes, Unknown):
        return facts.memory.attained
    paid = not (plan.step or funded.shed or funded.limited or facts.unknown_demand or facts.metrics_down)
    settled = paid and all(
        item.need <= item.facts.spec.max_replicas and item.facts.seen.ready and not item.facts.seen.stuck for item in plan.variants if item.need
    )
    ready_s = [item.facts.seen.newest_ready_s for item in plan.variants if item.facts.seen.ready]
    warm = bool(ready_s) and facts.now - max(ready_s) >= attainment.WARM_S
    promised, able = facts.spec.objectives.percentile / 100.0, paid and not any(item.facts.parked for item in plan.variants)
    return attainment.updated(facts.memory.attained, facts.state.outcomes, promised, settled=settled, able=able, warm=warm)


def _slowness(funded: Funded, item: VariantPlan) -> tuple[float, float] | None:
    """What the variant's engines show of their speed in this pass, and what is known of it then; None = nothing."""
    old, seen, now = item.facts.memory, item.facts.seen, funded.facts.now
    if (old.slow_at_s is not None and 0.0 <= now - old.slow_at_s < speed.EVERY_S) or item.per_s <= 0.0 or seen.running <= 0.0:
        return None
    if seen.queued != seen.ready or now - seen.newest_ready_s < speed.SETTLED_S or funded.facts.unknown_demand:
        return None
    # by requests, not by work: every class's seconds count as often as it comes
    total = alone_s = engine_s = prefill_s = 0.0
    for part, one, _ in item.parts:
        rate, seconds = part * one.requests_per_s, one.seconds
        total += rate
        alone_s += rate * seconds[0]
        engine_s += rate * seconds[1]
        prefill_s += rate * seconds[2]
    if total <= 0.0:
        return None
    if old.slow_at_s is None or old.slow_at_s > now:
        return old.slowness, old.slow_known  # from now on: an estimate is of a whole minute (and a clock may have gone back)
    running = seen.running / seen.ready
    factor = speed.estimate(running, item.per_s / seen.ready, alone_s=alone_s / total, engine_s=engine_s / total, prefill_s=prefill_s / total)
    overloaded = running > item.concurrency or seen.queueing > 0
    slowness, known = speed.learned(
        old.slowness, old.slow_known, factor, running=seen.running, overloaded=overloaded, dispersion=item.dispersion, dt_s=now - old.slow_at_s
    )
    # a fleet that is kept short refuses part of what arrives: that it runs little for so much makes it no faster
    return (max(slowness, old.slowness) if funded.plan.step or funded.shed or funded.limited else slowness), known
