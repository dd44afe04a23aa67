"""The nine conditions of an InferenceDeployment, and those of an InferenceBudget: positive polarity, CamelCase reasons, sentences with numbers."""

from __future__ import annotations

from functools import lru_cache

from jevons.core import facts as facts_
from jevons.core.budget import Pace
from jevons.core.facts import Facts, VariantFacts
from jevons.core.funding import Funded, alerting
from jevons.core.observed import Known
from jevons.core.plan import Plan
from jevons.core.snapshot import Condition, RouterCurve, Snapshot
from jevons.core.spec import RoutingMode, Rung

TYPES = (
    "Accepted",
    "ResolvedRefs",
    "Ready",
    "MetricsAvailable",
    "ObjectivesMet",
    "WithinBudget",
    "CapacityAvailable",
    "RouterCalibrated",
    "ScaleUncontested",
)
REFERENCE_PROBLEMS = {
    "TargetNotFound",
    "TargetKindNotAllowed",
    "TargetNotScalable",
    "ForeignOwner",
    "ManagedByAutoscaler",
    "TargetClaimed",
    "AcceleratorClassNotFound",
    "TemplateRefused",
}
UNROUTED = RoutingMode.OFF
said = lru_cache(maxsize=4096)(Condition)
"""Most conditions say what they said in the last pass, and many what the next deployment's say."""


def all_of(funded: Funded, snapshot: Snapshot) -> tuple[Condition, ...]:
    """All nine, in the order of TYPES."""
    facts, plan = funded.facts, funded.plan
    return (
        accepted(facts),
        resolved_refs(facts),
        ready(facts, plan),
        metrics_available(facts, snapshot),
        objectives_met(facts, plan),
        within_budget(funded),
        capacity_available(funded, snapshot),
        router_calibrated(facts, snapshot.router),
        scale_uncontested(facts),
    )


def broken(message: str) -> tuple[Condition, ...]:
    """For a deployment whose decision failed: nothing is known of it but that."""
    return (
        Condition("Accepted", "Unknown", "InternalError", message),
        Condition("Ready", "False", "InternalError", message),
        *(Condition(name, "Unknown", "InternalError", message) for name in TYPES if name not in {"Accepted", "Ready"}),
    )


def refused(message: str) -> tuple[Condition, ...]:
    """For an object of which not even the variants could be read."""
    return (
        Condition("Accepted", "False", "InvalidSpec", message),
        Condition("Ready", "False", "InvalidSpec", message),
        *(Condition(name, "Unknown", "InvalidSpec", message) for name in TYPES if name not in {"Accepted", "Ready"}),
    )


def accepted(facts: Facts) -> Condition:
    """Whether the object can be acted on at all."""
    state = facts.state
    if state.invalid:
        return said("Accepted", "False", "InvalidSpec", state.invalid)
    if state.name_taken_by is not None:
        return said(
            "Accepted",
            "False",
            "NameTaken",
            f"spec.model: {facts.spec.model!r} is held by {state.name_taken_by}, which is older; choose another ({facts.spec.key} always works)",
        )
    return _in_force(facts.spec.generation)


@lru_cache(maxsize=1024)
def _in_force(generation: int) -> Condition:
    return Condition("Accepted", "True", "Accepted", f"generation {generation} is in force")


def resolved_refs(facts: Facts) -> Condition:
    """Whether everything the object names exists and may be used."""
    for variant in () if facts.plain else facts.variants:
        if variant.target.problem or (variant.fixed and variant.fixed in REFERENCE_PROBLEMS):
            reason = variant.target.problem or variant.fixed
            detail = variant.target.message
            if reason == "AcceleratorClassNotFound":
                detail = f"there is no AcceleratorClass named {variant.spec.accelerator_class!r}"
            return said("ResolvedRefs", "False", reason, f"spec.variants[{variant.spec.name}]: {detail or reason}")
    return _resolved(len(facts.variants))


@lru_cache(maxsize=64)
def _resolved(variants: int) -> Condition:
    return Condition("ResolvedRefs", "True", "ResolvedRefs", f"{variants} variants resolved")


def ready(facts: Facts, plan: Plan) -> Condition:
    """Whether requests are answered now, or will be after a wake-up."""
    serving = [f"{variant.seen.ready} of {variant.spec.name}" for variant in facts.variants if variant.seen.ready]
    if serving:
        return said("Ready", "True", "Serving", f"ready: {', '.join(serving)}")
    parked = [variant for variant in facts.variants if variant.parked]
    frozen = _stuck(facts)
    if frozen or parked:
        return said("Ready", "False", "ReplicaStuck", frozen) if frozen else _parked(parked[0], facts.now)
    fixed = next((variant for variant in facts.variants if variant.fixed), None)
    if fixed is not None and not any(variant.usable for variant in facts.variants):
        return said("Ready", "False", fixed.fixed, f"{fixed.spec.name} cannot be scaled: {fixed.fixed}")
    starting = [item for item in plan.variants if (item.replicas or item.facts.current) and not item.rests]
    if starting:
        item = starting[0]
        since = item.facts.memory.start_at_s
        waited = f", {facts.now - since:.0f} s so far" if since is not None else ""
        message = f"{item.facts.spec.name} is starting, about {item.facts.startup_s:.0f} s{waited}; {facts.held} requests wait"
        return said("Ready", "False", "Waking", message)
    return _unready(facts, plan)


def _unready(facts: Facts, plan: Plan) -> Condition:
    """Nothing runs: because it may not, or because nobody calls."""
    if any(item.reason == "BudgetCap" for item in plan.variants):
        return said("Ready", "False", "BudgetCap", "the budget allows no replica")
    if any(item.reason == "AcceleratorLimit" and item.need for item in plan.variants):
        return said("Ready", "False", "AcceleratorLimit", f"its AcceleratorClass has no room for a replica; {facts.held} requests wait")
    if not any(variant.startable for variant in facts.variants):
        if not any(variant.spec.max_replicas for variant in facts.variants):
            return said("Ready", "False", "Maximum", "replicas.max is 0: no request is answered until it is raised")
        classes = ", ".join(sorted({variant.spec.accelerator_class for variant in facts.variants if variant.spec.max_replicas}))
        return said("Ready", "False", "AcceleratorLimit", f"the limit of AcceleratorClass {classes} has no room for a replica at all")
    resting = next((item for item in plan.variants if item.rests), None)
    where = f"asleep in host memory; a request wakes {resting.facts.spec.name} in about {resting.facts.wake_s or 0.0:.0f} s" if resting else ""
    return said("Ready", "True", "Asleep", where or f"asleep; a request wakes {plan.wake}")


def _parked(variant: VariantFacts, now: float) -> Condition:
    wait_s = max(0.0, (variant.memory.parked_until_s or 0.0) - now)
    message = f"{variant.spec.name} did not become ready in {variant.memory.failed_starts} starts; next try in {wait_s:.0f} s"
    return said("Ready", "False", "StartFailed", message)


def _stuck(facts: Facts) -> str:
    """Which ready pods have work and do none of it, as a sentence; empty = none."""
    for variant in facts.variants:
        if variant.seen.stuck:
            total, names = variant.seen.ready + len(variant.seen.stuck), ", ".join([pod.name for pod in variant.seen.stuck[:3]])
            return f"{len(variant.seen.stuck)} of {total} ready pods of {variant.spec.name} have requests, a quiet GPU and no tokens: {names}"
    return ""


def metrics_available(facts: Facts, snapshot: Snapshot) -> Condition:
    """Whether what we scale on can be seen."""
    if facts.metrics_down:
        detail = f"last answer {facts.now - snapshot.metrics.at_s:.0f} s ago" if isinstance(snapshot.metrics, Known) else snapshot.metrics.reason
        return said("MetricsAvailable", "False", "SourceDown", f"Prometheus does not answer ({detail}); replicas are held")
    unseen = 0 if facts.plain else sum([variant.seen.unseen for variant in facts.variants])
    if unseen:
        total = sum(variant.seen.ready for variant in facts.variants)
        return said("MetricsAvailable", "False", "PodsUnseen", f"{unseen} of {total} ready pods have no fresh reading; each counts as fully used")
    if facts.unknown_demand:
        return said(
            "MetricsAvailable", "False", "DemandUnknown", f"arrivals at the gateway are not known ({facts.unknown_demand}); nothing goes down"
        )
    return said("MetricsAvailable", "True", "MetricsAvailable", "all readings are fresh")


def objectives_met(facts: Facts, plan: Plan) -> Condition:
    """Whether there is capacity enough for the promise.

    Latency as clients saw it is not an input yet: this is capacity against work.
    """
    short, frozen = None, False
    for item in plan.variants:
        seen = item.facts.seen
        if item.share > 0 and not item.reachable:
            objectives = facts.spec.objectives
            name, itl_ms, ttft_s = item.facts.spec.name, objectives.itl_s * 1000, objectives.ttft_s
            message = f"{name} misses {itl_ms:.0f} ms between tokens or {ttft_s:g} s to the first even with one request"
            return said("ObjectivesMet", "False", "ObjectivesUnreachable", message)
        frozen = frozen or bool(seen.stuck)
        if short is None and item.need > seen.ready and (item.facts.current or item.replicas):
            short = item
    if facts.metrics_down:
        return said("ObjectivesMet", "Unknown", "MetricsUnavailable", "no readings to judge by")
    if frozen:
        return said("ObjectivesMet", "False", "ReplicaStuck", _stuck(facts))
    if short is not None:
        name, seen = short.facts.spec.name, short.facts.seen
        message = f"{name} needs {short.need} ready replicas and has {seen.ready}; {seen.waiting:.0f} requests wait on it"
        return said("ObjectivesMet", "False", "Scaling", message)
    return said("ObjectivesMet", "True", "EnoughCapacity", "ready replicas cover the work seen")


def within_budget(funded: Funded) -> Condition:
    """Whether the money will last, and what is being done about it."""
    if not funded.paces:
        return said("WithinBudget", "True", "NoBudget", "no budget applies")
    tight = max(funded.paces, key=lambda pace: pace.forecast_usd / pace.standing.amount if pace.standing.amount else float("inf"))
    at = tight.standing
    figures = f"{_usd(at.spent)} of {_usd(at.amount)} USD spent, {_usd(tight.forecast_usd)} expected by the period's end" + (
        f" ({at.name})" if at.name else ""
    )
    status, reason, detail = _money_verdict(funded, tight)
    return said("WithinBudget", status, reason, f"{detail}. {figures}" if detail else figures)


def _money_verdict(funded: Funded, tight: Pace) -> tuple[str, str, str]:
    """Status, reason and a sentence, for the tightest of the budgets."""
    reasons = {Rung.CAP: "Capped", Rung.DEGRADE: "Degrading", Rung.ALERT: "Alert"}
    verdict = ("True", reasons.get(funded.rung, "WithinBudget"), "")
    unpriced = {item.facts.spec.accelerator_class for item in funded.plan.variants if item.facts.usd_per_h is None}
    foreign = [item.facts.spec.name for item in funded.plan.variants if item.facts.fixed == "ForeignScaling" and item.replicas]
    if funded.plan.unpriced:
        verdict = ("Unknown", "PriceUnknown", f"no usable price for {', '.join(sorted(unpriced))}")
    elif foreign and sum(item.replicas * (item.facts.usd_per_h or 0.0) for item in funded.plan.variants) > tight.cap_usd_per_h:
        verdict = ("False", "ForeignScaling", f"replicas of {', '.join(foreign)} were set by someone else and cost more than is left")
    elif funded.blocked_until_s is not None:
        verdict = ("False", "Blocked", "requests are refused until the period ends")
    elif infeasible(funded, tight):
        verdict = ("False", "Infeasible", "replicas.min cannot be paid to the period's end; min gives way")
    elif tight.standing.available <= 0:
        verdict = ("False", "Exceeded", "")
    return verdict


def infeasible(funded: Funded, pace: Pace) -> bool:
    """Whether the replicas that `min` asks for cost more until the period's end than is left, under a budget that binds."""
    floor = sum(item.facts.spec.min_replicas * (item.facts.usd_per_h or 0.0) for item in funded.plan.variants)
    return pace.binds and floor * pace.standing.left_s / 3600.0 > max(0.0, pace.standing.available)


def capacity_available(funded: Funded, snapshot: Snapshot) -> Condition:
    """Whether the accelerators that are wanted can be had."""
    facts = funded.facts
    names: dict[str, None] = {}
    for item in funded.plan.variants if funded.limited else ():
        why, needed = funded.limited.get(item.facts.spec.name), max(item.need, item.facts.spec.min_replicas)
        if why is not None and item.replicas < needed:
            message = f"AcceleratorClass {why}; {item.replicas} of the {needed} replicas of {item.facts.spec.name} fit"
            return said("CapacityAvailable", "False", "AcceleratorLimit", message)
    for variant in facts.variants:
        if variant.seen.unschedulable:
            wanted = f"{variant.spec.accelerator_count} x {variant.spec.accelerator_class}"
            message = f"{variant.seen.unschedulable} pods of {variant.spec.name} find no node with {wanted} free"
            return said("CapacityAvailable", "False", "Unschedulable", message)
        names[variant.spec.accelerator_class] = None
    frees = []
    for name in names:
        inventory = snapshot.inventory.get(name)
        if not isinstance(inventory, Known):
            return said("CapacityAvailable", "Unknown", "InventoryUnknown", f"the nodes of {name} cannot be seen; pods are scheduled and timed out")
        frees.append(f"{max(0, inventory.value.allocatable - inventory.value.allocated)} of {inventory.value.allocatable} {name} free")
    return said("CapacityAvailable", "True", "CapacityAvailable", ", ".join(frees))


def router_calibrated(facts: Facts, curve: RouterCurve | None) -> Condition:
    """Whether routing by score rests on a measured curve and on scores seen here."""
    if facts.spec.routing.mode is UNROUTED or len(facts.variants) == 1:
        return said("RouterCalibrated", "True", "NotNeeded", "nothing is routed by score")
    if curve is None:
        return said("RouterCalibrated", "False", "NoCurve", "no classifier is loaded; shares follow the stated quality alone")
    seen = sum([sum(load.scores) for load in facts.loads])
    if seen < 100:
        return said("RouterCalibrated", "Unknown", "FewScores", f"{seen:.0f} scored requests so far; a flat prior is blended in until there are more")
    return said("RouterCalibrated", "True", "Calibrated", f"thresholds from {seen:.0f} scored requests")


def scale_uncontested(facts: Facts) -> Condition:
    """Whether we alone move the replicas."""
    for variant in () if facts.plain else facts.variants:
        target = variant.target
        if not variant.fixed and target.foreign_change_at_s is None and target.foreign_changes <= 1:
            continue
        if target.foreign_changes > 1:
            message = f"{target.foreign_writer or 'someone'} set the replicas of {variant.spec.name} {target.foreign_changes} times in 30 min"
            return said("ScaleUncontested", "False", "ForeignScaling", message)
        if variant.fixed == "ForeignScaling" or (
            target.foreign_change_at_s is not None and facts.now - target.foreign_change_at_s < facts_.FOREIGN_PAUSE_S
        ):
            left_s = facts_.FOREIGN_PAUSE_S - (facts.now - (target.foreign_change_at_s or facts.now))
            message = f"{target.foreign_writer or 'someone'} set the replicas of {variant.spec.name}; left alone for {left_s:.0f} s more"
            return said("ScaleUncontested", "Unknown", "ForeignScaling", message)
    return said("ScaleUncontested", "True", "Uncontested", "nobody else moves the replicas")


def of_budget(pace: Pace, rung: Rung) -> tuple[Condition, ...]:
    """The condition of an InferenceBudget."""
    at = pace.standing
    figures = f"{_usd(at.spent)} of {_usd(at.amount)} USD spent, {_usd(pace.forecast_usd)} expected by the period's end"
    if at.available <= 0:
        return (said("WithinBudget", "False", "Exceeded", figures),)
    reasons = {Rung.BLOCK: "Blocked", Rung.CAP: "Capped", Rung.DEGRADE: "Degrading", Rung.ALERT: "Alert"}
    return (
        said(
            "WithinBudget",
            "True",
            reasons.get(rung, "WithinBudget") if alerting(pace) or rung.level >= Rung.DEGRADE.level else "WithinBudget",
            figures,
        ),
    )


def _usd(amount: float) -> str:
    return f"{amount:.2f}" if abs(amount) >= 0.1 or amount == 0 else f"{amount:.4g}"


def size_message(replicas: int, name: str, per_s: float, capacity_per_s: float | None, concurrency: float, waiting: float) -> str:  # noqa: PLR0917  asked for every variant, and keywords cost
    """One variant's size in a sentence.

    Example: "2 replicas of small-int4 for 3.1 req/s (capacity 2.2 each)" (test_worked_examples.py::test_the_size_reads_as_a_sentence).
    """
    unit = "replica" if replicas == 1 else "replicas"
    if capacity_per_s is not None and per_s > 0:
        return f"{replicas} {unit} of {name} for {per_s:.1f} req/s (capacity {capacity_per_s:.1f} each)"
    return f"{replicas} {unit} of {name} ({waiting:.0f} waiting, {concurrency:.0f} at once each)"
