"""Money: the rungs in their order, and what each says."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from core_plant import Plant, assistant
from core_worlds import KEY, NOW, SMALL, demand, deployment, held, pod, spent, state, variant_state, world

from jevons.core import funding
from jevons.core.budget import Pace, Standing
from jevons.core.decide import decide
from jevons.core.funding import Funded
from jevons.core.memory import Memory
from jevons.core.observed import Known
from jevons.core.plan import Plan
from jevons.core.spec import BudgetSpec, Key, Period, Priority, RequestClass, Rung, SharedBudget

OTHER = Key("team-a", "other")


def within(decision, key=KEY):
    found = next(item for item in decision.deployments[key].conditions if item.type == "WithinBudget")
    return found.status, found.reason


def desired(decision, key=KEY):
    return {target.variant: target.desired for target in decision.deployments[key].replicas}


def busy(budget, *, rate=3.0, large=2, small=1, usd="0", **changes):
    """An assistant in traffic at ten in the morning of a day with this budget."""
    spec = deployment(budget=budget, **changes)
    pods = {
        "large": variant_state(*[pod(f"l{i}", running=5.0, util=0.6) for i in range(large)]),
        "small": variant_state(*[pod(f"s{i}", running=3.0, util=0.4) for i in range(small)]),
    }
    return world(state(spec, pods, demand=(demand(rate),), last_arrival_at_s=NOW), ledger=spent(usd))


def test_enough_money_changes_nothing():
    decision = decide(busy(BudgetSpec(Decimal(2000), Period.DAY)), NOW)
    assert within(decision) == ("True", "WithinBudget")
    assert desired(decision) == desired(decide(busy(None), NOW))


def test_alert_says_so_and_touches_nothing():
    decision = decide(busy(BudgetSpec(Decimal(100), Period.DAY, "UTC", Rung.ALERT)), NOW)
    assert within(decision) == ("True", "Alert")
    assert decision.deployments[KEY].routing.rung is Rung.ALERT
    assert desired(decision) == desired(decide(busy(None), NOW))


def test_degrade_sends_more_to_the_small_variant_and_caps_nothing():
    free, pressed = decide(busy(None), NOW), decide(busy(BudgetSpec(Decimal(100), Period.DAY, "UTC", Rung.DEGRADE)), NOW)
    assert within(pressed) == ("True", "Degrading")
    route, before = pressed.deployments[KEY].routing.classes[-1], free.deployments[KEY].routing.classes[-1]
    assert 0.0 < route.degraded_share <= 0.6
    assert route.expected_quality < before.expected_quality
    assert desired(pressed)["small"] >= 1


def test_cap_takes_the_dear_replicas_and_says_so_to_the_pickers():
    decision = decide(busy(BudgetSpec(Decimal(60), Period.DAY)), NOW)
    assert within(decision) == ("True", "Capped")
    assert desired(decision)["large"] == 0
    states = {route.name: route.state for route in decision.deployments[KEY].routing.variants}
    assert states["large"] == "Capped"


def test_min_gives_way_and_the_promise_is_called_infeasible():
    spec = BudgetSpec(Decimal(20), Period.DAY)
    snapshot = busy(spec)
    item = snapshot.deployments[KEY]
    floors = tuple(replace(variant, min_replicas=2) for variant in item.spec.variants)
    snapshot = replace(snapshot, deployments={KEY: replace(item, spec=replace(item.spec, variants=floors))})
    decision = decide(snapshot, NOW)
    assert within(decision) == ("False", "Infeasible")
    assert desired(decision)["large"] == 0


def test_spent_out_caps_to_zero_and_block_refuses_until_the_period_ends():
    for rung, blocked in ((Rung.CAP, None), (Rung.BLOCK, NOW + 14 * 3600.0)):
        decision = decide(busy(BudgetSpec(Decimal(60), Period.DAY, "UTC", rung), usd="60"), NOW)
        assert desired(decision) == {"large": 0, "small": 0}
        assert decision.deployments[KEY].routing.blocked_until_s == blocked
        assert within(decision)[0] == "False"


def test_a_sleeping_model_is_not_woken_without_money():
    spec = deployment(SMALL, budget=BudgetSpec(Decimal(5), Period.DAY))
    item = state(spec, {"small": variant_state()}, held=(held("small", 2),))
    assert desired(decide(world(item, ledger=spent("5")), NOW)) == {"small": 0}
    assert desired(decide(world(item, ledger=spent("1")), NOW)) == {"small": 1}


def test_someone_elses_scaling_that_costs_too_much_is_called_by_its_name():
    spec = deployment(SMALL, budget=BudgetSpec(Decimal(5), Period.DAY))
    touched = variant_state(*[pod(f"p{i}") for i in range(8)], foreign_change_at_s=NOW - 30.0, foreign_changes=1)
    decision = decide(world(state(spec, {"small": touched})), NOW)
    assert desired(decision) == {"small": None}
    assert within(decision) == ("False", "ForeignScaling")


def test_under_a_shared_budget_the_high_priority_member_is_served_first():
    specs = {
        KEY: deployment(SMALL, classes=(RequestClass("c", priority=Priority.LOW),)),
        OTHER: deployment(SMALL, key=OTHER, classes=(RequestClass("c", priority=Priority.HIGH),)),
    }
    states = [state(spec, {"small": variant_state()}, held=(held("small", 1),)) for spec in specs.values()]
    shared = SharedBudget("team", "u", 1, BudgetSpec(Decimal(60), Period.DAY), frozenset(specs))
    decision = decide(world(*states, shared_budgets=(shared,)), NOW)
    assert (desired(decision)["small"], desired(decision, OTHER)["small"]) == (0, 1)
    assert decision.budgets["team"].rung is Rung.CAP


def test_an_unreadable_shared_budget_is_reported():
    shared = SharedBudget("team", "u", 1, BudgetSpec(Decimal(60), Period.DAY, "Mars/Olympus"), frozenset({KEY}))
    decision = decide(replace(busy(None), shared_budgets=(shared,)), NOW)
    assert decision.budgets["team"].conditions[0].reason == "InvalidSpec"
    assert desired(decision)["large"] is not None


@pytest.mark.parametrize("amount", ["2", "8", "20"])
def test_an_hour_of_a_few_dollars_is_paced_from_its_first_minute(amount):
    plant = Plant({KEY: assistant(budget=BudgetSpec(Decimal(amount), Period.HOUR))}, NOW, {KEY: 3.0})
    served = moves = 0
    before = None
    for _ in range(118):
        decision = plant.step(30.0)
        served += any(target.desired for target in decision.deployments[KEY].replicas)
        moves += before is not None and before != desired(decision)
        before = desired(decision)
    usd = decision.deployments[KEY].cost.period_spend_usd
    assert usd <= Decimal(amount) * Decimal("1.01")
    assert usd >= Decimal(amount) * Decimal("0.6")
    assert served >= (50 if amount == "2" else 110)
    assert moves <= 10


@pytest.mark.parametrize(("own", "team", "step"), [(0.25, None, 1), (None, 0.5, 2), (0.25, 0.5, 3), (0.3, 0.3, 3), (0.75, 0.75, 4)])
def test_the_pressures_of_the_own_and_of_the_team_budget_add(own, team, step):
    plans = {number: Plan(number, "large", "small", [], usd_per_h=10.0 - number) for number in range(5)}
    standing = Standing("", Rung.DEGRADE, 100.0, 0.0, NOW, NOW + 3600.0, 3600.0)
    paces = [Pace(standing, 0.0, pressure, 3600.0, 0.0) for pressure in (own, team) if pressure is not None]
    funded = Funded(None, None, None, None, plans[0], plans[0], paces=paces, plans=plans)
    funding.replan(funded)
    assert funded.plan.step == step


def test_a_fleet_that_a_budget_keeps_short_does_not_look_faster_for_what_it_refuses():
    """Forty requests a second arrive, a few replicas may run, and what they run tells of the few that were let in."""

    def slowness(amount):
        memory = Memory()
        for at in range(120):
            now = NOW + at * 30.0
            pods = [pod(f"s{number}", now, running=10.0, util=0.9) for number in range(3)]
            spec = deployment(replace(SMALL, max_replicas=30), budget=BudgetSpec(Decimal(amount), Period.DAY))
            seen = state(spec, {"small": variant_state(*pods)}, demand=(demand(40.0, now),), last_arrival_at_s=now)
            memory = decide(world(seen, now=now, memory=memory, metrics=Known(None, now)), now).memory
        return memory.deployments[KEY].variants["small"].slowness

    assert slowness("150") == 0.0
    assert slowness("100000") < -0.2
