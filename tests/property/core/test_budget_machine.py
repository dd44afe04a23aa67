"""Whatever happens in whatever order (load, prices, restarts, a lower amount, time), what Jevons spends stays inside the amount."""

from __future__ import annotations

import os
from dataclasses import replace
from decimal import Decimal

import pytest
from core_plant import Plant, assistant
from core_worlds import A100, KEY, NOW
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from jevons.core import budget
from jevons.core.periods import bounds
from jevons.core.spec import BudgetSpec, Key, Period, Price, Rung, SharedBudget

OTHER = Key("team-a", "zoo")


class Budgets(RuleBasedStateMachine):
    """Two deployments under one shared budget, one of them with a tighter one of its own; both as small as an hour's play."""

    @initialize(amount=st.sampled_from(["3", "8", "20"]), rung=st.sampled_from([Rung.CAP, Rung.BLOCK]))
    def begin(self, amount, rung):
        self.own = BudgetSpec(Decimal(amount), Period.HOUR, "UTC", rung)
        self.both = SharedBudget("team", "u", 1, BudgetSpec(Decimal(amount) * 2, Period.HOUR, "UTC", rung), frozenset({KEY, OTHER}))
        self.plant = Plant({KEY: assistant(budget=self.own), OTHER: assistant(key=OTHER)}, NOW)
        self.plant.changes["shared_budgets"] = (self.both,)
        self.price = Decimal("3.67")
        self.slack = {"own": 0.0, "both": 0.0}
        self.period = bounds(Period.HOUR, "UTC", NOW)

    def _rate(self):
        return self.plant.usd_per_h(float(self.price))

    def _excuse(self, usd):
        """What no controller can take back: running replicas cost this much until they are gone."""
        self.slack = {name: slack + usd for name, slack in self.slack.items()}

    @rule(rate=st.sampled_from([0.0, 0.2, 1.0, 4.0, 12.0]), other=st.booleans())
    def load_changes(self, rate, other):
        self.plant.rates[OTHER if other else KEY] = rate

    @rule(passes=st.integers(1, 12), dt_s=st.sampled_from([5.0, 15.0, 30.0]))
    def time_passes(self, passes, dt_s):
        for _ in range(passes):
            self.plant.step(dt_s)
            now = bounds(Period.HOUR, "UTC", self.plant.now)
            if now != self.period:
                self.period, self.slack = now, {"own": 0.0, "both": 0.0}

    @rule(factor=st.sampled_from(["0.8", "1.01", "1.48"]))
    def the_price_changes(self, factor):
        if Decimal("0.5") < self.price * Decimal(factor) < 20:
            if Decimal(factor) > 1:
                self._excuse(self._rate() * (float(factor) - 1.0) * (budget.STOP_S + 30.0) / 3600.0)
            self.price *= Decimal(factor)
            old = self.plant.changes.get("accelerators", {"a100": A100})["a100"].prices
            self.plant.changes["accelerators"] = {"a100": replace(A100, prices=(*old, Price(self.plant.now, self.price)))}

    @rule()
    def the_operator_restarts(self):
        self.plant.restart()

    @rule(share=st.sampled_from(["0.5", "0.9"]))
    def the_amount_is_lowered(self, share):
        spent = float(self._spent("own"))
        lower = self.own.amount_usd * Decimal(share)
        if lower < Decimal("0.5"):
            return
        self.slack["own"] += max(0.0, spent + self._rate() * (budget.STOP_S + 30.0) / 3600.0 - float(lower))
        self.own = replace(self.own, amount_usd=lower)
        self.plant.specs[KEY] = replace(self.plant.specs[KEY], budget=self.own)

    def _spent(self, which):
        accounts = self.plant.ledger.accounts
        keys = (KEY,) if which == "own" else (KEY, OTHER)
        return sum((accounts[key].spent_since(self.period[0]) for key in keys if key in accounts), Decimal(0))

    @invariant()
    def spend_stays_inside(self):
        if not hasattr(self, "plant"):
            return
        for which, spec in (("own", self.own), ("both", self.both.budget)):
            allowed = float(spec.amount_usd) * 1.01 + self.slack[which]
            assert float(self._spent(which)) <= allowed, f"{which}: {self._spent(which)} > {allowed}"


TestBudgets = Budgets.TestCase
TestBudgets.settings = settings(max_examples=6, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))


PARTS = 10


@pytest.mark.slow
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("part", range(PARTS))
def test_spend_stays_inside_at_length(part):
    """The same, 10,000 examples of up to 200 steps; JEVONS_SLOW_EXAMPLES asks for fewer. In parts: a search remembers 0.3 MB of each example."""
    examples = int(os.environ.get("JEVONS_SLOW_EXAMPLES", "10000")) // PARTS
    at_length = settings(max_examples=max(1, examples), stateful_step_count=200, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Budgets, settings=at_length)
