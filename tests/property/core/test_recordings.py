"""What is recorded is read back as it was, whatever it holds, and decided again to the same bytes."""

from __future__ import annotations

import json
import os
import types
from collections.abc import Mapping
from dataclasses import is_dataclass
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Union, get_args, get_origin, get_type_hints

import pytest
from core_plant import Plant, assistant
from core_worlds import A100, KEY, NOW
from hypothesis import given, settings
from hypothesis import strategies as st

from jevons.core.canonical import Text, read
from jevons.core.observed import Known, Unknown
from jevons.core.recording import Reader, Writer, header, replayed
from jevons.core.snapshot import Decision, Snapshot
from jevons.core.spec import BudgetSpec, Key, Period, Price, SharedBudget
from jevons.solver.highs import solve

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=6)
LEAVES = {
    float: st.one_of(st.floats(), st.integers(-3, 3)),
    int: st.integers(),
    str: st.text(max_size=6),
    bool: st.booleans(),
    type(None): st.none(),
    None: st.none(),
    Decimal: st.decimals(allow_nan=True, allow_infinity=True),
    Key: st.builds(Key, NAMES, NAMES),
}


@cache
def values(hint):
    """Any value of a type of the core, small."""
    origin, inside = get_origin(hint), get_args(hint)
    if hint in LEAVES:
        return LEAVES[hint]
    if origin in {Union, types.UnionType}:
        return st.one_of(*map(values, inside))
    if origin is Known:
        return st.builds(Known, values(inside[0]), LEAVES[float])
    if origin is not None:
        return containers(origin, inside)
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    assert is_dataclass(hint) or issubclass(hint, tuple), hint
    return st.builds(hint, **{name: values(each) for name, each in get_type_hints(hint).items()})


def containers(origin, inside):
    if issubclass(origin, Mapping):
        return st.dictionaries(LEAVES[Key] if inside[0] is Key else NAMES, values(inside[1]), max_size=2)
    if origin is frozenset:
        return st.frozensets(values(inside[0]), max_size=3)
    if inside[-1] is not Ellipsis:
        return st.tuples(*map(values, inside))
    return st.lists(values(inside[0]), max_size=2).map(tuple)


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_every_value_of_the_core_is_read_back_as_it_was_written(data):
    for kind in (Snapshot, Decision):
        value = data.draw(values(kind))
        text = Text().of(value)
        again = read(kind, json.loads(text))
        assert Text().of(again) == text
        assert type(again) is kind


WORLDS = {
    "rates": st.lists(st.sampled_from([0.0, 0.3, 1.0, 4.0, 15.0]), min_size=2, max_size=6),
    "amount": st.sampled_from([None, "0.5", "8", "300"]),
    "price": st.sampled_from(["3.67", "0.1", "NaN", "-1", "Infinity"]),
    "dark": st.integers(0, 5),
}


@settings(max_examples=8, deadline=None)
@given(**WORLDS)
def test_every_pass_is_decided_again_to_the_same_bytes(rates, amount, price, dark):
    replays(rates, amount, price, dark)


@pytest.mark.slow
@pytest.mark.timeout(43_200)
@settings(max_examples=int(os.environ.get("JEVONS_SLOW_EXAMPLES", "10000")), deadline=None)
@given(**WORLDS)
def test_ten_thousand_worlds_are_decided_again_to_the_same_bytes(rates, amount, price, dark):
    replays(rates, amount, price, dark)


def replays(rates, amount, price, dark):
    other = Key("team-b", "other")
    spec = BudgetSpec(Decimal(amount), Period.HOUR) if amount is not None else None
    plant = Plant({KEY: assistant(budget=spec), other: assistant(key=other)}, NOW, solver=solve)
    prices = (*A100.prices, Price(NOW + 40.0, Decimal(price)))
    plant.changes["accelerators"] = {"a100": type(A100)("a100", prices=prices)}
    plant.changes["shared_budgets"] = (SharedBudget("team", "u", 1, BudgetSpec(Decimal(9), Period.DAY), frozenset({other, KEY})),)
    writer, lines = Writer(), [header("test")]
    for number, rate in enumerate(rates):
        plant.rates[KEY], plant.rates[other] = rate, rates[-1 - number]
        plant.changes["metrics"] = Unknown("SourceDown", "refused") if number == dark else Known(None, plant.now)
        for _ in range(3):
            snapshots = []
            take = plant.snapshot
            plant.snapshot = lambda take=take, seen=snapshots: seen.append(take()) or seen[-1]
            decision = plant.step(15.0)
            plant.snapshot = take
            lines += writer.lines(plant.now, snapshots[0], decision)
    found = list(Reader().passes(lines))
    assert len(found) == 3 * len(rates)
    assert [difference for one in found for difference in replayed(one, solve)] == []
