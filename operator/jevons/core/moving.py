"""From the need to replicas: the rules about moving.

Up at once; down by level, when keeping it is no longer worth it (`levels.py`); to zero only when idle by every account; from zero only the variant
that held requests wait for, or one that steady traffic needs while another serves, or one that stands in for another.
"""

from __future__ import annotations

from jevons.core import idle, levels, sizing
from jevons.core.facts import Facts
from jevons.core.plan import Plan, VariantPlan

START_PER_MINUTE = 3.0
"""Requests a minute that start a sleeping variant by plan (without anybody held for it)."""


def move(facts: Facts, plan: Plan, item: VariantPlan, held: int) -> None:
    """From the need to replicas: the rules about going up, down, to zero and from zero, then min and max."""
    variant, current = item.facts, item.facts.current
    item.needs, item.gaps = variant.memory.needs, variant.memory.gaps
    if variant.fixed and variant.fixed not in {"ForeignScaling", "Recommend"}:
        item.replicas, item.reason = current, variant.fixed
        return
    if variant.parked and not variant.fixed:
        item.replicas, item.reason, item.needs = 0, "StartFailed", ()
        return
    if item.needs and item.need > item.needs[-1][1]:
        item.gaps = levels.with_gaps(item.gaps, item.needs, item.need, facts.now)
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
    item.needs = levels.remembered(item.needs, item.need, facts.now, variant.startup_s, current)
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
    return item.stands_in or (others and item.per_s * 60.0 >= START_PER_MINUTE)


def _down(facts: Facts, plan: Plan, item: VariantPlan, held: int, low: int) -> tuple[int, str]:
    """How far down, from `current` towards `low`, and the reason."""
    variant, current, seen = item.facts, item.facts.current, item.facts.seen
    if facts.no_down or seen.queueing:
        # one full pod beside idle ones is for the router to mend, and no reason to have fewer
        return current, facts.no_down or "Queueing"
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
    late_s = _loss_s(facts, item) * (item.capacity_per_s or 1.0)
    startup_s = variant.startup_s
    level = levels.kept(variant.memory.needs, item.gaps, low=low, current=current, startup_s=startup_s, late_s=late_s, now=facts.now)
    return (low, "Demand") if level <= low else (level, "Stabilising")


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
    return idle.keep_for_s(item.facts.startup_s, _loss_s(facts, item), facts.gaps)


def _silent_for(facts: Facts, keep_s: float) -> bool:
    """Whether a gateway that reports now has seen no request for that long, whatever the mean over the last minute still says."""
    last_s = facts.state.last_arrival_at_s
    return last_s is not None and facts.now - last_s >= keep_s


def _loss_s(facts: Facts, item: VariantPlan) -> float:
    """What one late answer costs, in seconds of a replica's price (to two digits)."""
    loss_s = sizing.late_loss_s(facts.spec.objectives.late_cost_usd, item.facts.usd_per_h, item.capacity_per_s or 1.0)
    return float(f"{loss_s:.2g}")
