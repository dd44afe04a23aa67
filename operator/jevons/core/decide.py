"""The decision: from one snapshot of the world to everything that should be done about it.

Meter what was spent, gather facts per deployment, plan, fund the plans, publish. Pure and deterministic: equal snapshots and times give equal
decisions. Every deployment is decided in isolation up to the shared budgets: one whose spec or state makes the code fail gets `InternalError` and no
action, the others go on. Precedence (api.md): budget (Cap, Block) > replicas.max > minQuality > objectives > replicas.min.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from jevons.core import conditions, funding, publish
from jevons.core.budget import Pace
from jevons.core.facts import gather
from jevons.core.funding import Funded
from jevons.core.ledger import Account, Ledger
from jevons.core.memory import DeploymentMemory, Memory
from jevons.core.metering import accrue
from jevons.core.money import ZERO, accelerator_usd_per_h
from jevons.core.snapshot import (
    BudgetDecision,
    Condition,
    CostView,
    Decision,
    DeploymentDecision,
    Explanation,
    ReplicaTarget,
    RoutingPlan,
    Snapshot,
    VariantRoute,
)
from jevons.core.spec import BudgetSpec, Deployment, Key, Rung, SharedBudget

NOTHING = DeploymentMemory()


def decide(snapshot: Snapshot, now: float) -> Decision:
    """Decide for every deployment of the snapshot at `now` (seconds since the epoch). Never raises for one deployment's sake."""
    ledger = accrue(snapshot.ledger, snapshot, now)
    failures: dict[Key, str] = {}
    funded = _begun(snapshot, ledger, failures, now)
    budgets = _shared(snapshot, funded, ledger, now)
    _replanned(funded, failures)
    for shared in snapshot.shared_budgets:
        if shared.name in budgets:
            funding.cap(budgets[shared.name], {key: funded[key] for key in sorted(shared.members) if key in funded})
    decisions: dict[Key, DeploymentDecision] = {}
    memories: dict[Key, DeploymentMemory] = {}
    for key, state in snapshot.deployments.items():
        memories[key] = snapshot.memory.deployments.get(key, NOTHING)
        if key in funded:
            try:
                decisions[key] = publish.decision(funded[key], snapshot)
                memories[key] = publish.remembered(funded[key])
            except Exception as error:  # noqa: BLE001  the loop's top: one broken object never stops the others
                failures[key] = _described(error)
        if key not in decisions:
            decisions[key] = _failed(state.spec, failures[key], now)
    views = {shared.name: _budget_view(shared, budgets.get(shared.name), funded, ledger, now) for shared in snapshot.shared_budgets}
    return Decision(now, decisions, views, Memory(memories), ledger)


def _begun(snapshot: Snapshot, ledger: Ledger, failures: dict[Key, str], now: float) -> dict[Key, Funded]:
    """Facts, the plan without pressure and the own budget's pace, of every deployment that can be decided."""
    budgets: dict[Key, list[BudgetSpec]] = {}
    for shared in snapshot.shared_budgets:
        for key in shared.members:
            budgets.setdefault(key, []).append(shared.budget)
    prices = {name: accelerator_usd_per_h(accelerator, now) for name, accelerator in snapshot.accelerators.items()}
    funded: dict[Key, Funded] = {}
    for key, state in snapshot.deployments.items():
        if not state.spec.variants:
            failures[key] = state.invalid or "spec.variants: there is none; at least 1 is needed"
            continue
        try:
            facts = gather(snapshot, state, snapshot.memory.deployments.get(key, NOTHING), prices, now)
            applying = [*([state.spec.budget] if state.spec.budget is not None else []), *budgets.get(key, [])]
            begun = funding.begin(facts, ledger.accounts.get(key, Account(as_of_s=now)), snapshot.router, applying, snapshot.accelerators)
            funding.own_pace(begun)
            funded[key] = begun
        except Exception as error:  # noqa: BLE001  the loop's top: one broken object never stops the others
            failures[key] = _described(error)
    return funded


def _shared(snapshot: Snapshot, funded: Mapping[Key, Funded], ledger: Ledger, now: float) -> dict[str, Pace]:
    """The pace of every shared budget that can be read; one that cannot is reported by `_budget_view` and binds nobody."""
    paces: dict[str, Pace] = {}
    for shared in snapshot.shared_budgets:
        members = [funded[key] for key in sorted(shared.members) if key in funded]
        try:
            paces[shared.name] = funding.shared_pace(shared, members, ledger, now)
        except ValueError:
            continue
    return paces


def _replanned(funded: dict[Key, Funded], failures: dict[Key, str]) -> None:
    """Every plan at the pressures it is under, inside the deployment's own cap."""
    for key, item in list(funded.items()):
        if not item.paces:
            continue
        try:
            funding.replan(item)
            funding.hold_unpriced(item)
            if item.own is not None:
                funding.cap(item.own, {key: item})
        except Exception as error:  # noqa: BLE001  the loop's top: one broken object never stops the others
            failures[key] = _described(error)
            del funded[key]


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:400]


def _failed(spec: Deployment, message: str, now: float) -> DeploymentDecision:
    """No action, and a condition that says why."""
    replicas = tuple(ReplicaTarget(variant.name, None, None, "InternalError", message) for variant in spec.variants)
    routes = tuple(VariantRoute(variant.name, "Unavailable", "", variant.port, startup_s=variant.startup_s) for variant in spec.variants)
    name = spec.best.name if spec.variants else ""
    plan = RoutingPlan(name, name, Rung.NONE, 0.0, None, routes, ())
    found = conditions.broken(message) if spec.variants else conditions.refused(message)
    reason = "InternalError" if spec.variants else "InvalidSpec"
    cost = CostView(None, {}, ZERO, None, None, now, now, None)
    return DeploymentDecision(spec.key, publish.digest(spec.uid, replicas, plan, found), replicas, plan, found, cost, reason, message, Explanation())


def _budget_view(shared: SharedBudget, pace: Pace | None, funded: Mapping[Key, Funded], ledger: Ledger, now: float) -> BudgetDecision:
    """One InferenceBudget for its status."""
    if pace is None:
        problem = Condition(
            "WithinBudget", "Unknown", "InvalidSpec", "amount or timeZone cannot be read; the budget binds nobody until it is corrected"
        )
        return BudgetDecision(shared.name, shared.budget.amount_usd, ZERO, None, Rung.NONE, now, now, (problem,))
    rung = max((funded[key].rung for key in shared.members if key in funded), key=lambda rung: rung.level, default=Rung.NONE)
    if not funding.alerting(pace) and rung.level < Rung.DEGRADE.level:
        rung = Rung.NONE
    at = pace.standing
    return BudgetDecision(
        name=shared.name,
        amount_usd=shared.budget.amount_usd,
        spend_usd=funding.shared_spend(shared, ledger, at.start_s),
        forecast_usd=Decimal(f"{pace.forecast_usd:.6f}"),
        rung=rung,
        period_start_s=at.start_s,
        period_end_s=at.end_s,
        conditions=conditions.of_budget(pace, rung),
    )
