"""From the need to replicas: the rules about moving.

Up at once; down by level, when keeping it is no longer worth it (`levels.py`); to zero only when idle by every account, and where the engine can
sleep in host memory the last replica does so before it goes (`tiers.py`); from zero, or from sleep, only the variant that held requests wait for, or
one that steady traffic needs while another serves, or one that stands in for another, or one whose next call is likely soon (`warmth.py`).
"""

# ruff: noqa: FURB136  max costs eight times what a comparison does
from __future__ import annotations

from decimal import Decimal

from jevons.core import attainment, cowake, hazard, levels, sizing, tiers
from jevons.core.budget import PRESSURE_STEPS
from jevons.core.facts import Facts
from jevons.core.plan import Plan, VariantPlan
from jevons.core.tiers import Rest
from jevons.core.warmth import Warmth, warmth

LONG_WORK_S = 120.0
"""Work so long after the last call of the gateway's was nobody's answer that it knows of, or a long one: quiet is counted from its end."""
KNOWN, LONGEST_LULL_S = 0.3, 600.0
"""Bursty arrivals are watched for so long that their mean is known to within this part of it, before a lull is taken for less traffic."""
START_PER_MINUTE = 3.0
"""Requests a minute that start a sleeping variant by plan (without anybody held for it)."""


def move(facts: Facts, plan: Plan, item: VariantPlan, held: int) -> None:
    """From the need to replicas: the rules about going up, down, to zero and from zero, then min and max."""
    variant = item.facts
    current, seen, spec, fixed = variant.current, variant.seen, variant.spec, variant.fixed
    least, most = spec.min_replicas, spec.max_replicas
    needs, item.gaps = variant.memory.needs, variant.memory.gaps
    item.needs = needs
    if fixed and fixed not in {"ForeignScaling", "Recommend"}:
        item.replicas, item.reason = current, fixed
        return
    if variant.parked and not fixed:
        item.replicas, item.reason, item.needs = 0, "StartFailed", ()
        return
    need, reason = item.need, "Demand"
    if needs and need > needs[-1][1]:
        item.gaps = _with_gaps(item, facts.now)
    if need and not held and not seen.working and least == 0 and _silent(facts, plan, item):
        need = 0
    dormant = current == 0 or (bool(seen.resting) and not seen.ready)
    if dormant and need > 0 and not held and least == 0 and not _starts_by_plan(plan, item):
        need = 0
    low = need if need >= least else least
    if low > current:
        reason = "Wake" if held and dormant else reason if need > current else "Minimum"
    elif current == 0 and low == 0 and _prewarms(facts, plan, item):
        low, reason = 1, "Prewarm"
    elif low < current:
        low, reason = _down(facts, plan, item, held, low)
    else:
        reason = "Steady" if not dormant or not low else "Wake" if held else "Demand"
    item.needs = levels.remembered(needs, item.need, facts.now, variant.startup_s, current)
    if low > most:
        low, reason = most, "Maximum"
        plan.binding.append(f"spec.variants[{spec.name}].replicas.max")
    if reason in {"Idle", "Sleep", "Asleep"}:
        item.needs = ()
    item.replicas, item.reason = low, reason
    if fixed:
        item.recommended, item.replicas, item.reason, item.sleepers = low, current, fixed, 0


def relieve(plan: Plan) -> None:
    """A queue on a variant for which nothing is meant any more asks for no more of it, where all that shall serve instead is ready no later."""
    for item in plan.variants:
        if item.need > item.facts.current > 0 and item.share <= 0.0 and _relieved(plan, item):
            item.need = item.facts.current


def _relieved(plan: Plan, item: VariantPlan) -> bool:
    serving = [other.facts for other in plan.variants if other.share > 0.0 and other.need > 0]
    for other in serving:
        seen = other.seen
        if other.startup_s > item.facts.startup_s or other.fixed or seen.unprovisioned or seen.failed or seen.overdue:
            return False
    return bool(serving)


def _with_gaps(item: VariantPlan, now: float) -> levels.Gaps:
    """The histories of its levels after this need; plans at several pressures often need the same."""
    if item.facts.gaps is None:
        item.facts.gaps = {}
    known, need = item.facts.gaps, item.need
    found = known.get(need)
    if found is None:
        found = known[need] = levels.with_gaps(item.gaps, item.needs, need, now)
    return found


def _starts_by_plan(plan: Plan, item: VariantPlan) -> bool:
    """Steady traffic for a sleeping variant while another one serves: enough of it to be worth a start without anybody waiting."""
    others = any(other.facts.seen.ready for other in plan.variants if other is not item)
    return item.stands_in or (others and item.per_s * 60.0 >= START_PER_MINUTE)


def _down(facts: Facts, plan: Plan, item: VariantPlan, held: int, low: int) -> tuple[int, str]:
    """How far down, from `current` towards `low`, and the reason."""
    variant, current, seen = item.facts, item.facts.current, item.facts.seen
    if facts.no_down or seen.queueing:
        item.sleepers = 0 if low or held or seen.ready or seen.working else len(seen.resting)
        # one full pod beside idle ones is for the router to mend, and no reason to have fewer
        return current, facts.no_down or "Queueing"
    if low == 0 and not held:
        asleep, reason = _asleep(facts, plan, item)
        if asleep:
            return _let_go(facts, plan, item)
        low = 1
        if current == 1:
            return 1, reason
    low = max(1, low)
    kept = seen.unseen + seen.borrowed
    if low + kept >= current:
        return current, "Steady" if low >= current else "PodsUnseen" if seen.unseen else "GPUBusy"
    low += kept
    if not seen.quiet and item.work <= 0.0 and not seen.utils:
        return current, seen.gpu
    level = current if levels.surely_kept(variant.memory.needs, current, variant.startup_s, facts.now) else _worth_keeping(facts, item, low)
    return (low, "Demand") if level <= low else (level, "Stabilising")


def _worth_keeping(facts: Facts, item: VariantPlan, low: int) -> int:
    """The highest level above `low` that is worth keeping."""
    variant = item.facts
    startup_s, current, needs = variant.startup_s, variant.current, variant.memory.needs
    late_s = _loss_s(facts, item) * (item.capacity_per_s or 1.0)
    lull_s = min(LONGEST_LULL_S, item.dispersion / max(1e-6, KNOWN * KNOWN * sum([trend.base or 0.0 for trend in facts.trends.values()])))
    return levels.kept(needs, item.gaps, low=low, current=current, startup_s=startup_s, late_s=late_s, now=facts.now, least_s=lull_s)


def _asleep(facts: Facts, plan: Plan, item: VariantPlan) -> tuple[bool, str]:
    """Whether a variant without need may go to zero: no work, a quiet GPU, and idle for longer than keeping it is worth."""
    variant, seen = item.facts, item.facts.seen
    resting = item.facts.wake_s is not None and bool(seen.resting) and not seen.ready and not _called_since(facts, plan, item)
    if seen.working or (not resting and _expects(facts, item)):
        return False, "Demand"
    if resting:
        # it is not kept loaded, but woken where a call is likely
        return not _prewarms(facts, plan, item), "Prewarm"
    if seen.unseen or not seen.quiet:
        return False, "PodsUnseen" if seen.unseen else seen.gpu
    last = [variant.work_at_s or 0.0, seen.newest_ready_s]
    if _alone(plan) and facts.last_arrival_at_s is not None:
        last.append(facts.last_arrival_at_s)
    keep_s = facts.spec.scaling.idle_after_s
    if keep_s is not None:
        item.idle_in_s = max(last) + keep_s - facts.now
        return item.idle_in_s <= 0.0, "IdleSoon"
    started_s = variant.memory.start_at_s
    if not seen.ready and started_s is not None and started_s > (facts.last_arrival_at_s or 0.0):
        # nobody waits for this start: it was made ahead of a call, and is not given up half way
        item.idle_in_s = started_s + hazard.lead_s(variant.startup_s) - facts.now
        item.foretold = "the start is under way"
        if item.idle_in_s > 0.0:
            return False, "Prewarm"
    if plan.steered and item.share <= 0.0 and any(other.share > 0.0 and other.facts.seen.ready for other in plan.variants):
        # calls go to others: it stays until the rent equals a start, and not because another call is due
        item.idle_in_s = max(last) + max(hazard.HOLD_S, variant.startup_s) - facts.now
    else:
        found = _warmth(facts, plan, item)
        item.idle_in_s = max(max(last) + hazard.HOLD_S, found.until_s if found.loaded else 0.0) - facts.now
    return item.idle_in_s <= 0.0, "IdleSoon"


def _called_since(facts: Facts, plan: Plan, item: VariantPlan) -> bool:
    """Whether a call of its own came after it was marked to sleep, which is still under way somewhere or given up: it is no longer idle."""
    last_s, marked_s = facts.state.last_arrival_at_s, item.facts.seen.resting[0].marked_at_s
    return _alone(plan) and last_s is not None and marked_s is not None and last_s > marked_s


def _expects(facts: Facts, item: VariantPlan) -> bool:
    """Whether arrivals are so frequent that one is due while the variant would stay in any case, and the gateway does not say that they ended."""
    keep_s = facts.spec.scaling.idle_after_s
    keep_s = hazard.HOLD_S if keep_s is None else keep_s
    return item.per_s * keep_s >= 1.0 and not _silent_for(facts, keep_s)


def _silent(facts: Facts, plan: Plan, item: VariantPlan) -> bool:
    """Whether the gateway has seen no request for as long as the variant is worth keeping, whatever the mean over the last minute still says."""
    keep_s = facts.spec.scaling.idle_after_s
    if keep_s is not None:
        return _silent_for(facts, keep_s)
    if not _silent_for(facts, hazard.HOLD_S):
        return False
    return not _loaded(facts, plan, item, facts.state.last_arrival_at_s).loaded


def _alone(plan: Plan) -> bool:
    """Whether every request is for one variant, so that the gateway's last arrival is its own."""
    return sum(other.facts.usable for other in plan.variants) <= 1


def _warmth(facts: Facts, plan: Plan, item: VariantPlan) -> Warmth:
    """Whether the variant is worth being loaded, by ages since its last call; since its last work where that is another's or much later."""
    called_s, worked_s = facts.last_arrival_at_s, item.facts.work_at_s
    if not _alone(plan) or called_s is None or (worked_s is not None and worked_s > called_s + LONG_WORK_S):
        called_s = worked_s if worked_s is not None else called_s
    return _loaded(facts, plan, item, called_s)


def _loaded(facts: Facts, plan: Plan, item: VariantPlan, last_s: float | None) -> Warmth:
    seen, loss_s = item.facts.seen, _cold_loss_s(facts, plan, item)
    rest, resting = rest_of(facts, plan, item), bool(seen.resting) and not seen.ready
    return warmth(item.facts.startup_s, loss_s, facts.gaps, facts.prior, facts.callers, last_s, facts.now, rest, resting=resting)


def rest_of(facts: Facts, plan: Plan, item: VariantPlan) -> Rest | None:
    """What sleeping in host memory is worth to the variant now; None where it is nothing, or cannot be: its engine does not, or did refuse."""
    sleep, wake_s, seen = item.facts.spec.sleep, item.facts.wake_s, item.facts.seen
    if sleep is None or wake_s is None or (seen.ready and not seen.drowsy):
        return None
    rest = tiers.rest(float(sleep.holding), wake_s, facts.spec.objectives, item.facts.usd_per_h)
    return rest if rest.saves(item.facts.startup_s + _cold_loss_s(facts, plan, item)) else None


def _let_go(facts: Facts, plan: Plan, item: VariantPlan) -> tuple[int, str]:
    """Replicas of a variant that need not stay loaded: the last one sleeps in host memory while that is worth it."""
    seen = item.facts.seen
    if rest_of(facts, plan, item) is not None and (seen.drowsy or seen.resting):
        found = _warmth(facts, plan, item)
        # after idleAfter by hand nothing stays loaded, and short of money nothing is woken, however likely a call is
        if found.sleeps or (found.loaded and (seen.resting or facts.spec.scaling.idle_after_s is not None)):
            item.sleepers = 1
            return 1, "Asleep" if seen.resting else "Sleep"
    return 0, "Idle"


def _prewarms(facts: Facts, plan: Plan, item: VariantPlan) -> bool:
    """Whether a sleeping variant is started, or woken, ahead of a likely call: the one a call would wake, if nothing else serves and money is there.

    Only where sleep is learned (idleAfter Auto), and the gateway tells now when the last call came.
    """
    variant = item.facts
    if facts.spec.scaling.idle_after_s is not None or facts.state.last_arrival_at_s is None or facts.no_down or plan.step:
        return False
    others = [other.facts for other in plan.variants if other is not item]
    if item.facts.spec.name != plan.wake or variant.fixed or any(other.current or other.seen.ready for other in others):
        return False
    found = _loaded(facts, plan, item, facts.last_arrival_at_s)
    if not found.loaded or not (found.caller or found.since_s > facts.state.last_arrival_at_s):
        # in the window that begins with a call it stays if it is loaded; the call itself has woken it, if anybody waits for that
        return False
    item.foretold = _foretold(facts, found)
    return True


def _foretold(facts: Facts, found: Warmth) -> str:
    """Why a call is likely, in a few words."""
    ahead_s = found.until_s - facts.now
    if found.caller:
        one = next(caller for caller in facts.callers if caller.name == found.caller)
        return f"{found.caller} was called, which {100.0 * one.chance:.0f} % of the time is followed by a call of this one"
    age_s = facts.now - (facts.last_arrival_at_s or 0.0)
    chance = hazard.likely(facts.gaps, facts.prior, age_s, age_s + ahead_s)
    return f"{100.0 * chance:.0f} % of the pauses as long as this one end within the next {ahead_s:.0f} s"


def programme(facts: Facts, plan: Plan, item: VariantPlan) -> str:
    """When the variant is loaded after a call, in words, and whose calls foretell one.

    Example: "20 pauses known; loaded until 30 s after a call, and from 1652 to 1892 s after it" (test_hazard.py::test_explain_tells_the_programme).
    """
    startup_s, loss_s, rest, asleep = item.facts.startup_s, _cold_loss_s(facts, plan, item), rest_of(facts, plan, item), ""
    if rest is None:
        first, *later = hazard.windows(startup_s, loss_s, facts.gaps, facts.prior)
    else:
        (first, *later), naps = tiers.windows(startup_s, loss_s, rest, facts.gaps, facts.prior)
        asleep = "".join(f", asleep in host memory from {begin_s:.0f} to {end_s:.0f} s" for begin_s, end_s in naps)
    again = "".join(f", and from {begin_s:.0f} to {end_s:.0f} s after it" for begin_s, end_s in later)
    callers = ", ".join(f"{one.name} {100.0 * one.chance:.0f} %" for one in facts.callers if one.followed + one.missed >= cowake.ENOUGH)
    known = f"{sum(hazard.pauses(facts.gaps)):.0f} pauses known; loaded until {first[1]:.0f} s after a call{again}{asleep}"
    dear = _dearness(facts, plan)
    if dear > 1.0:
        known = f"{known}; a cold start counts {dear:.0f} times, since the promise is missed"
    return f"{known}; foretold by {callers}" if callers else known


def _silent_for(facts: Facts, keep_s: float) -> bool:
    """Whether a gateway that reports now has seen no request for that long."""
    last_s = facts.state.last_arrival_at_s
    return last_s is not None and facts.now - last_s >= keep_s


def _cold_loss_s(facts: Facts, plan: Plan, item: VariantPlan) -> float:
    """What an answer that waits for a start costs beside it, in seconds of a replica's price (to two digits)."""
    loss_s, dear = cold_loss_s(facts.spec.objectives.late_cost_usd, item.facts.usd_per_h, item.facts.startup_s), _dearness(facts, plan)
    return loss_s if dear == 1.0 else float(f"{loss_s * dear:.2g}")


def _dearness(facts: Facts, plan: Plan) -> float:
    """How many times a cold start counts: more than once where they break the promise and money is not short, unless `lateAnswerCost` is set."""
    if facts.spec.objectives.late_cost_usd is not None:
        return 1.0
    return attainment.dearness(facts.memory.attained, plan.step / PRESSURE_STEPS)


def cold_loss_s(late_cost_usd: Decimal | None, usd_per_h: float | None, startup_s: float) -> float:
    """See above; Auto (None), or without a price: ten times what such an answer costs, and that is a whole start.

    Example: Auto at a start of 60 s -> 600 s (test_hazard.py::test_an_answer_that_waits_for_a_start_costs_ten_starts_unless_said_otherwise).
    """
    if late_cost_usd is None or not usd_per_h or not late_cost_usd.is_finite():
        return float(f"{sizing.AUTO_LATE_FACTOR * startup_s:.2g}")
    return float(f"{sizing.late_loss_s(late_cost_usd, usd_per_h, 1.0):.2g}")


def _loss_s(facts: Facts, item: VariantPlan) -> float:
    """What one late answer costs, in seconds of a replica's price (to two digits)."""
    loss_s = sizing.late_loss_s(facts.spec.objectives.late_cost_usd, item.facts.usd_per_h, item.capacity_per_s or 1.0)
    return float(f"{loss_s:.2g}")
