"""The decision: from one snapshot of the world to everything that should be done about it.

Meter what was spent, gather facts per deployment, plan, fund the plans, hold them under ceilings, publish. Pure and deterministic: equal snapshots
and times give equal decisions. Every deployment is decided in isolation up to shared budgets and ceilings: one whose spec or state makes the code
fail gets `InternalError` and no action, the others go on. Precedence (api.md, with ceilings beside budgets): budget (Cap, Block) > replicas.max >
minQuality > objectives > replicas.min.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from jevons.core import ceilings, conditions, coordination, cowake, funding, hazard, publish
from jevons.core.budget import Pace
from jevons.core.cowake import Heard
from jevons.core.facts import NOBODY, gather
from jevons.core.funding import Funded
from jevons.core.ground import Ground, ground_of
from jevons.core.ledger import Account, Ledger
from jevons.core.memory import DeploymentMemory, Memory
from jevons.core.metering import Tariff, billed, memberships, with_gone
from jevons.core.milp import Solver
from jevons.core.money import ZERO
from jevons.core.snapshot import (
    BudgetDecision,
    Condition,
    CostView,
    Decision,
    DeploymentDecision,
    DeploymentState,
    Explanation,
    ReplicaTarget,
    RoutingPlan,
    Snapshot,
    VariantRoute,
)
from jevons.core.spec import Deployment, Key, Rung, SharedBudget

NOTHING = DeploymentMemory()
PRIOR_EVERY_S = 600.0


def decide(snapshot: Snapshot, now: float, solver: Solver | None = None) -> Decision:
    """Decide for every deployment of the snapshot at `now` (seconds since the epoch). Never raises for one deployment's sake.

    solver: chooses routes and replicas of several variants together (`milp.py`); without one, routes follow the rule of `routing.py`.
    Step by step for all of them: one step's code is small enough for the processor to keep, which saves a tenth of the time.
    """
    snapshot = replace(snapshot, memory=_with_prior(snapshot.memory, now))
    states, known, before = snapshot.deployments, snapshot.memory.deployments, snapshot.ledger.accounts
    # keys are hashed as seldom as may be: what belongs together stands in the same order
    memories = [known.get(key, NOTHING) for key in states]
    heard = _heard(states, memories, now)
    shared = memberships(snapshot.shared_budgets)
    tariff = Tariff(snapshot.accelerators, now)
    accounts = {key: billed(before.get(key), state, tariff, shared.get(key, ()) if shared else ()) for key, state in states.items()}
    room = ceilings.room(snapshot)
    grounds = [
        _ground(snapshot, state, memory, tariff, heard.get(key.namespace, NOBODY) if heard else NOBODY, room)
        for (key, state), memory in zip(states.items(), memories, strict=True)
    ]
    if solver is not None:
        coordination.steer(snapshot, dict(zip(states, grounds, strict=True)), solver, now)
    funded = {
        key: _begun(ground, account, tariff, shared.get(key, ()) if shared else ())
        for (key, account), ground in zip(accounts.items(), grounds, strict=True)
    }
    ledger = with_gone(accounts, snapshot.ledger, tariff)
    views = _planned_again(snapshot, funded, ledger, now)
    ceilings.hold(snapshot, funded)
    decided: dict[Key, DeploymentDecision] = {}
    remembered: dict[Key, DeploymentMemory] = {}
    for (key, state), memory, each in zip(states.items(), memories, funded.values(), strict=True):
        decided[key], remembered[key] = _decided(each, snapshot, state, memory, now)
    return Decision(now, decided, views, Memory(remembered, snapshot.memory.prior, snapshot.memory.prior_at_s), ledger)


def _with_prior(memory: Memory, now: float) -> Memory:
    """What all models together show of gaps is counted anew now and then, so that nobody's programme changes with every call of everybody."""
    if memory.prior_at_s <= now < memory.prior_at_s + PRIOR_EVERY_S:
        return memory
    return replace(memory, prior=hazard.pooled(one.gaps for one in memory.deployments.values()), prior_at_s=now)


def _heard(states: Mapping[Key, DeploymentState], memories: list[DeploymentMemory], now: float) -> dict[str, dict[str, tuple[float, float | None]]]:
    """By namespace, who was called within `cowake.WITHIN_S`: when last, and when last as of the pass before."""
    found: dict[str, dict[str, tuple[float, float | None]]] = {}
    for (key, state), memory in zip(states.items(), memories, strict=True):
        if state.last_arrival_at_s is not None and now - state.last_arrival_at_s < cowake.WITHIN_S:
            found.setdefault(key.namespace, {})[key.name] = (state.last_arrival_at_s, memory.last_arrival_at_s)
    return found


def _ground(  # noqa: PLR0917  asked for every deployment, and keywords cost
    snapshot: Snapshot, state: DeploymentState, memory: DeploymentMemory, tariff: Tariff, heard: Heard, room: Mapping[str, int]
) -> Ground | str:
    """What the plans of one deployment stand on, or why it cannot be decided."""
    if not state.spec.variants:
        return state.invalid or "spec.variants: there is none; at least 1 is needed"
    try:
        facts = gather(snapshot, state, memory, tariff, heard)
        if room:
            ceilings.narrow(facts, room)
        return ground_of(facts, snapshot.router)
    except Exception as error:  # noqa: BLE001  the loop's top: one broken object never stops the others
        return _described(error)


def _begun(ground: Ground | str, account: Account, tariff: Tariff, shared: tuple[SharedBudget, ...]) -> Funded | str:
    """The plan without pressure and the own budget's pace; or why there is none."""
    if isinstance(ground, str):
        return ground
    try:
        own = ground.facts.spec.budget
        applying = [own] if own is not None else []
        if shared:
            applying += [budget.budget for budget in shared]
        begun = funding.begin(ground, account, applying, tariff)
        if own is not None:
            funding.own_pace(begun)
    except Exception as error:  # noqa: BLE001  the loop's top: one broken object never stops the others
        return _described(error)
    return begun


def _replanned(begun: Funded) -> Funded | str:
    """The plan at the pressures it is under, inside the deployment's own cap; or why there is none."""
    try:
        funding.replan(begun)
        funding.hold_unpriced(begun)
        if begun.own is not None:
            funding.cap(begun.own, {begun.facts.spec.key: begun})
    except Exception as error:  # noqa: BLE001  the loop's top: one broken object never stops the others
        return _described(error)
    return begun


def _planned_again(snapshot: Snapshot, planned: dict[Key, Funded | str], ledger: Ledger, now: float) -> dict[str, BudgetDecision]:
    """Pace the shared budgets, plan again whatever is under a budget, and cap; a shared one that cannot be read is reported and binds nobody."""
    paces: dict[str, Pace] = {}
    for shared in snapshot.shared_budgets:
        members = [member for key in sorted(shared.members) if isinstance(member := planned.get(key), Funded)]
        try:
            paces[shared.name] = funding.shared_pace(shared, members, ledger, now)
        except ValueError:
            continue
    for key, begun in planned.items():
        if isinstance(begun, Funded) and begun.paces:
            planned[key] = _replanned(begun)
    views: dict[str, BudgetDecision] = {}
    if snapshot.shared_budgets:
        funded = {key: member for key, member in planned.items() if isinstance(member, Funded)}
        for shared in snapshot.shared_budgets:
            if shared.name in paces:
                funding.cap(paces[shared.name], {key: funded[key] for key in sorted(shared.members) if key in funded})
        views = {shared.name: _budget_view(shared, paces.get(shared.name), funded, ledger, now) for shared in snapshot.shared_budgets}
    return views


def _decided(
    funded: Funded | str, snapshot: Snapshot, state: DeploymentState, memory: DeploymentMemory, now: float
) -> tuple[DeploymentDecision, DeploymentMemory]:
    """What is published and remembered of one deployment, whether it could be decided or not."""
    message = funded
    if isinstance(funded, Funded):
        try:
            return publish.decision(funded, snapshot), publish.remembered(funded)
        except Exception as error:  # noqa: BLE001  the loop's top: one broken object never stops the others
            message = _described(error)
    return _failed(state.spec, str(message), now), memory


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
