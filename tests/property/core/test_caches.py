"""Whatever earlier passes and other deployments have left in the core's caches, a snapshot is decided as in a new process."""

from __future__ import annotations

import sys
from dataclasses import replace
from decimal import Decimal

from core_plant import Plant, assistant
from core_worlds import KEY, NOW
from hypothesis import given, settings
from hypothesis import strategies as st

from jevons.core.canonical import Text
from jevons.core.decide import decide
from jevons.core.ledger import Account, Ledger
from jevons.core.metering import accrue
from jevons.core.spec import BudgetSpec, Key, Period

OTHER = Key("team-a", "zoo")
RATES = st.lists(st.floats(0.0, 12.0), min_size=2, max_size=5)


def forget():
    for name, module in list(sys.modules.items()):
        if name.startswith("jevons.core."):
            for each in vars(module).values():
                if hasattr(each, "cache_clear"):
                    each.cache_clear()


def plant(budgeted, rate):
    budget = BudgetSpec(Decimal(budgeted), Period.DAY) if budgeted else None
    return Plant({KEY: assistant(budget=budget), OTHER: assistant(key=OTHER)}, NOW, {KEY: rate, OTHER: 1.0})


@settings(max_examples=15, deadline=None)
@given(rates=RATES, budgeted=st.sampled_from([None, "40", "2000"]))
def test_what_is_cached_changes_no_decision(rates, budgeted):
    world = plant(budgeted, rates[0])
    for rate in rates:
        world.rates[KEY] = rate
        world.step()
        seen = world.snapshot()
        warm = Text().of(decide(seen, world.now))
        forget()
        assert Text().of(decide(seen, world.now)) == warm


@settings(max_examples=15, deadline=None)
@given(rates=RATES, dt_s=st.sampled_from([5.0, 15.0, 80.0]))
def test_pods_met_again_are_billed_like_pods_in_any_other_order(rates, dt_s):
    world = plant(None, rates[0])
    for rate in rates:
        world.rates[KEY] = rate
        world.step(dt_s)
        accounts = world.ledger.accounts
        turned = Ledger({key: replace(account, pods=dict(reversed(account.pods.items()))) for key, account in accounts.items()})
        seen, later_s = world.snapshot(), world.now + dt_s
        straight, other = accrue(world.ledger, seen, later_s).accounts, accrue(turned, seen, later_s).accounts
        assert {key: billed(account) for key, account in straight.items()} == {key: billed(account) for key, account in other.items()}


def billed(account: Account):
    return account.usd, account.as_of_s, account.marks, account.meters, sorted(account.pods)
