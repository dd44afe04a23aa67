"""Plans meet budgets: every deployment's own and the shared ones together, in three steps.

First each budget is paced on what its members' plans cost; then every member is planned again at the pressures it is under (its own and the shared
ones add); then caps take replicas, own budgets first, shared ones over all members. A plan at higher pressure is only taken when it is cheaper, so
that a lower amount never costs more.
"""

# ruff: noqa: FURB136  min costs eight times what a comparison does
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise

from jevons.core import budget, money, planner, season
from jevons.core.budget import Line, Pace, Standing
from jevons.core.facts import Facts
from jevons.core.ground import Ground
from jevons.core.ledger import Account, Ledger
from jevons.core.metering import Tariff
from jevons.core.money import ZERO
from jevons.core.plan import Plan
from jevons.core.spec import BudgetSpec, Key, Rung, SharedBudget

LEAST_SHAPE = 0.05
"""What is wanted in an hour that usually costs almost nothing says almost nothing about the level."""
NO_RUNG = Rung.NONE


@dataclass(slots=True)
class Funded:
    """One deployment on its way through the budgets."""

    facts: Facts
    account: Account
    ground: Ground
    tariff: Tariff
    plan: Plan
    full: Plan
    """Without pressure."""
    wanted_usd_per_h: float = 0.0
    level_usd_per_h: float = 0.0
    """What is wanted on the average of a week, at the level of late."""
    saving: float | None = None
    """The part of that which full pressure saves, once asked for."""
    own: Pace | None = None
    paces: list[Pace] = field(default_factory=list)
    """Its own and the shared ones that it is under."""
    shed: set[str] = field(default_factory=set)
    """Variants that a cap took replicas from."""
    unaffordable: set[str] = field(default_factory=set)
    """Variants whose start the money left does not pay for."""
    limited: dict[str, str] = field(default_factory=dict)
    """Variants that have less than they should because of a ceiling of their accelerators, and which (`ceilings.py`)."""
    blocked_until_s: float | None = None
    plans: dict[int, Plan] = field(default_factory=dict)
    """By step of pressure, as far as made."""

    def at(self, step: int) -> Plan:
        """The plan at that step, made once."""
        if step not in self.plans:
            self.plans[step] = planner.make(self.ground, step)
        return self.plans[step]

    @property
    def rung(self) -> Rung:
        """The highest rung in force."""
        if self.blocked_until_s is not None:
            return Rung.BLOCK
        if self.shed or (self.unaffordable and len(self.unaffordable) == len(self.facts.variants)):
            return Rung.CAP
        if self.plan.step:
            return Rung.DEGRADE
        return Rung.ALERT if self.paces and any(alerting(pace) for pace in self.paces) else NO_RUNG


def alerting(pace: Pace) -> bool:
    """The forecast is above the amount, or nine tenths of it are spent, and somebody wants to hear it."""
    at = pace.standing
    return at.rung_allowed is not Rung.NONE and (pace.over or at.spent >= budget.ALERT_SHARE * at.amount)


def begin(ground: Ground, account: Account, budgets: list[BudgetSpec], tariff: Tariff) -> Funded:
    """The plan without pressure, and the level that such plans cost: their mean of late over what the season says of those hours.

    budgets: those that apply, its own first. A price that has changed since the last pass moves the level with it at once.
    """
    facts, plan = ground.facts, planner.make(ground, 0)
    memory, zone = facts.memory, budgets[0].time_zone if budgets else "UTC"
    shape = season.shape(memory.season, zone) if budgets else season.FLAT
    now_shape = max(LEAST_SHAPE, shape.at(facts.now, zone)) if shape is not season.FLAT else 1.0
    level = plan.usd_per_h / now_shape
    if memory.wanted_usd_per_h is not None:
        tau_s = budget.mean_tau_s([each.period for each in budgets], days=shape.days) if budgets else budget.MEAN_MAX_S
        passed_s = facts.now - memory.wanted_at_s
        weight = -math.expm1(-passed_s / tau_s) if passed_s > 0.0 else 0.0
        stepped = priced(plan, tariff, memory.wanted_at_s, facts.now)
        old = memory.wanted_usd_per_h * (stepped[-1][1] if stepped else 1.0)
        share = weight * now_shape
        level = old + (share if share < 1.0 else 1.0) * (level - old)
    return Funded(facts, account, ground, tariff, plan, plan, plan.usd_per_h, level)


def priced(plan: Plan, tariff: Tariff, start_s: float, end_s: float) -> list[tuple[float, float]]:
    """When in (start_s, end_s] the plan's replicas change their price, and what they cost then, times what they cost at `start_s`."""
    if not any(start_s < at_s <= end_s for at_s in tariff.changes_s):
        return []
    accelerators = tariff.classes
    lines = [(item.replicas * item.facts.spec.accelerator_count, item.facts.spec.accelerator_class) for item in plan.variants if item.replicas]
    stepped = {name: money.steps(accelerators.get(name), start_s, end_s) for _, name in lines}
    if not any(stepped.values()):
        return []
    costs = [(count * float(money.accelerator_usd_per_h(accelerators.get(name), start_s) or 0), stepped[name]) for count, name in lines]
    total = sum(cost for cost, _ in costs)
    times = sorted({at_s for found in stepped.values() for at_s, _ in found})
    if total <= 0.0:
        return []
    return [
        (at_s, sum(cost * next((ratio for when, ratio in reversed(found) if when <= at_s), 1.0) for cost, found in costs) / total) for at_s in times
    ]


def expected_usd(funded: Funded, at: Standing) -> float:
    """What the rest of a period costs one deployment without pressure: its season at its level, prices as far as they are known."""
    now, shape = funded.facts.now, season.shape(funded.facts.memory.season, at.time_zone)
    cuts = [(now, 1.0), *priced(funded.full, funded.tariff, now, at.end_s), (at.end_s, 1.0)]
    rest_h = sum(ratio * shape.hours_between(start_s, end_s, at.time_zone) for (start_s, ratio), (end_s, _) in pairwise(cuts))
    present = {"shape": shape.at(now, at.time_zone), "rest_h": rest_h}
    return budget.expected_usd(at.left_s, at.end_s - at.start_s, funded.wanted_usd_per_h, funded.level_usd_per_h, **present)


def own_pace(funded: Funded) -> None:
    """Pace the deployment's own budget, if it has one. Raises ValueError for an amount or a time zone that is none."""
    spec = funded.facts.spec.budget
    if spec is None:
        return
    start = budget.standing(spec, "", ZERO, funded.facts.now)
    at = budget.standing(spec, "", funded.account.spent_since(start.start_s), funded.facts.now)
    funded.own = _pace(at, [funded])
    funded.paces.append(funded.own)


def shared_pace(shared: SharedBudget, members: list[Funded], ledger: Ledger, now: float) -> Pace:
    """Pace one InferenceBudget over its members; what deleted members spent still counts."""
    start = budget.standing(shared.budget, shared.name, ZERO, now)
    spent = shared_spend(shared, ledger, start.start_s)
    pace = _pace(budget.standing(shared.budget, shared.name, spent, now), members)
    for member in members:
        member.paces.append(pace)
    return pace


def shared_spend(shared: SharedBudget, ledger: Ledger, start_s: float) -> Decimal:
    """USD that present and former members spent since `start_s`."""
    return sum(
        (
            account.spent_since(start_s)
            for key, account in ledger.accounts.items()
            if key in shared.members or (account.closed and shared.name in account.budgets)
        ),
        ZERO,
    )


def _pace(at: Standing, members: list[Funded]) -> Pace:
    wanted = sum(member.wanted_usd_per_h for member in members)
    running = float(sum((variant.hourly for member in members for variant in member.facts.variants if variant.hourly is not None), ZERO))
    each = [expected_usd(member, at) for member in members]
    expected, saving = sum(each), 0.0
    if at.spent + expected > at.amount and expected > 0.0:
        saving = sum(usd * _saving(member) for member, usd in zip(members, each, strict=True)) / expected
    return budget.pace(at, expected, wanted_usd_per_h=wanted, running_usd_per_h=running, saving=saving)


def _saving(member: Funded) -> float:
    """The part of a member's cost that full pressure saves: by day more than by night, so it is its mean over a day that counts."""
    if member.saving is None and member.wanted_usd_per_h > 0.0:
        now = max(0.0, 1.0 - member.at(budget.PRESSURE_STEPS).usd_per_h / member.wanted_usd_per_h)
        old, elapsed_s = member.facts.memory.saving, max(0.0, member.facts.now - member.facts.memory.wanted_at_s)
        costly = member.wanted_usd_per_h / member.level_usd_per_h if member.level_usd_per_h > 0.0 else 1.0
        weight = min(1.0, -math.expm1(-elapsed_s / budget.MEAN_MAX_S) * costly)
        member.saving = now if old is None else old + weight * (now - old)
    return member.saving if member.saving is not None else member.facts.memory.saving or 0.0


def replan(funded: Funded) -> None:
    """The plan at the pressures it is under: the cheapest of the steps up to there (of equals the lowest pressure)."""
    step = budget.step(min(1.0, sum(pace.pressure for pace in funded.paces)))
    for tried in range(1, step + 1):
        plan = funded.at(tried)
        if plan.usd_per_h < funded.plan.usd_per_h - 1e-9 or (plan.degraded_share > 0 and plan.usd_per_h <= funded.plan.usd_per_h + 1e-9):
            funded.plan = plan


def hold_unpriced(funded: Funded) -> None:
    """Under a budget that binds, a variant without a usable price keeps what it has: nobody could say what a change costs."""
    if not any(pace.binds for pace in funded.paces):
        return
    for item in funded.plan.variants:
        if item.facts.usd_per_h is None and not item.facts.fixed and item.replicas != item.facts.current:
            item.recommended, item.replicas, item.reason = item.replicas, item.facts.current, "PriceUnknown"
            item.needs, item.gaps = item.facts.memory.needs, item.facts.memory.gaps


def cap(pace: Pace, members: Mapping[Key, Funded]) -> None:
    """Let replicas go until the budget carries the rest, and note what it cannot start."""
    if not pace.binds:
        return
    owners = {str(key): funded for key, funded in members.items()}
    lines = [line for owner, funded in owners.items() for line in _lines(owner, funded)]
    if budget.shed(lines, pace):
        for line in lines:
            funded = owners[line.owner]
            item = next(item for item in funded.plan.variants if item.facts.spec.name == line.variant)
            if line.replicas < item.replicas:
                item.replicas, item.reason = line.replicas, "BudgetCap"
                funded.shed.add(line.variant)
    for funded in owners.values():
        _mark_unaffordable(funded, pace)


def _lines(owner: str, funded: Funded) -> list[Line]:
    """One deployment's replicas, as a cap sees them."""
    priority = funded.facts.spec.priority
    lines = []
    for item in funded.plan.variants:
        variant, name = item.facts, item.facts.spec.name
        usd_per_h, cheapest = variant.usd_per_h, name == funded.plan.wake
        fixed = bool(variant.fixed) or usd_per_h is None
        lines.append(Line(owner, name, item.replicas, variant.current, usd_per_h or 0.0, priority, cheapest, variant.startup_s, fixed))
    return lines


def _mark_unaffordable(funded: Funded, pace: Pace) -> None:
    """Which sleeping variants the money left cannot start; when nothing runs and nothing can start, Block refuses until the period's end."""
    for item in funded.plan.variants:
        if item.replicas or item.facts.usd_per_h is None:
            continue
        if not pace.starts(item.facts.usd_per_h, item.facts.startup_s):
            funded.unaffordable.add(item.facts.spec.name)
    nothing = not any(item.replicas for item in funded.plan.variants)
    refused = all(item.facts.spec.name in funded.unaffordable or not item.facts.usable for item in funded.plan.variants)
    if nothing and refused and funded.unaffordable and pace.standing.rung_allowed is Rung.BLOCK:
        funded.blocked_until_s = max(funded.blocked_until_s or 0.0, pace.standing.end_s)
