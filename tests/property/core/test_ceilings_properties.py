"""Ceilings of accelerators: nothing changes where none binds, and where one does it holds for all deployments together, at every moment."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from core_plant import Plant, assistant
from core_worlds import A100, KEY, LARGE, NOW, SMALL, demand, deployment, held, pod, state, variant_state, world
from hypothesis import given, settings
from hypothesis import strategies as st

from jevons.core.decide import decide
from jevons.core.spec import BudgetSpec, Key, Period, Priority, RequestClass
from jevons.solver import highs

QUICK = settings(max_examples=30, deadline=None)
UNITS = {"large": 4, "small": 1}
PRIORITIES = st.sampled_from(list(Priority))


@st.composite
def deployments(draw):
    """One of one or two variants, with some pods, some on their way out, and more or less to do."""
    key = Key("team", draw(st.sampled_from("abcdefgh")))
    variants = draw(st.sampled_from([(SMALL,), (LARGE,), (LARGE, SMALL)]))
    rate, running = draw(st.floats(0.0, 40.0)), draw(st.sampled_from([0.0, 3.0, 80.0]))
    fleets = {}
    for variant in variants:
        alive, leaving = draw(st.integers(0, 4)), draw(st.integers(0, 2))
        pods = [pod(f"{key.name}{variant.name}{i}", running=running, util=0.5 if running else 0.0) for i in range(alive + leaving)]
        pods = [replace(each, terminating=place >= alive) for place, each in enumerate(pods)]
        fleets[variant.name] = variant_state(*pods, replicas=alive)
    spec = deployment(
        *variants,
        key=key,
        classes=(RequestClass("c", priority=draw(PRIORITIES)),),
        budget=draw(st.sampled_from([None, BudgetSpec(Decimal(200), Period.DAY)])),
    )
    waiting = (held(variants[-1].name, draw(st.integers(1, 9))),) if draw(st.booleans()) else ()
    return state(spec, fleets, demand=(demand(rate),), held=waiting, last_arrival_at_s=NOW - draw(st.sampled_from([1.0, 4000.0])))


WORLDS = st.lists(deployments(), min_size=1, max_size=4, unique_by=lambda item: item.spec.key)


def limited(items, limit, **changes):
    return world(*items, accelerators={"a100": replace(A100, limit=limit, **changes)}, inventory={})


def asked(decision):
    return sum((target.desired or 0) * UNITS[target.variant] for made in decision.deployments.values() for target in made.replicas)


@QUICK
@given(items=WORLDS, power=st.booleans(), programme=st.booleans())
def test_a_ceiling_that_does_not_bind_changes_no_decision(items, power, programme):
    solver = highs.solve if programme else None
    free = decide(limited(items, None), NOW, solver)
    most = {"limit": None, "limit_watts": 4e6, "peak_watts": 400.0} if power else {"limit": 10_000}
    assert decide(limited(items, **most), NOW, solver) == free
    # nor does one that what is asked for just fits, every variant being awake and nothing on its way out
    awake = all(seen.pods and not any(each.terminating for each in seen.pods) for item in items for seen in item.variants.values())
    if not power and not programme and awake:
        going = {(item.spec.key, name): len(seen.pods) for item in items for name, seen in item.variants.items()}
        between = sum(
            UNITS[target.variant] * max(target.desired, going[key, target.variant])
            for key, made in free.deployments.items()
            for target in made.replicas
        )
        assert decide(limited(items, between), NOW) == free


@QUICK
@given(items=WORLDS, limit=st.integers(0, 24), less=st.integers(0, 8), programme=st.booleans())
def test_all_together_never_ask_for_more_and_start_nothing_that_does_not_fit(*, items, limit, less, programme):
    solver = highs.solve if programme else None
    free, decision = decide(limited(items, None), NOW, solver), decide(limited(items, limit), NOW, solver)
    assert asked(decision) <= limit
    # with several variants requests may go to another one instead
    chosen = programme or any(len(item.spec.variants) > 1 for item in items)
    assert chosen or asked(decide(limited(items, max(0, limit - less)), NOW)) <= asked(decision)
    held_then, starts = 0, False
    for item in items:
        for target in decision.deployments[item.spec.key].replicas:
            pods = item.variants[target.variant].pods
            leaving = sum(each.terminating for each in pods)
            starts = starts or target.desired > len(pods) - leaving
            held_then += UNITS[target.variant] * (max(target.desired, len(pods) - leaving) + leaving)
            wished = next(each.desired for each in free.deployments[item.spec.key].replicas if each.variant == target.variant)
            assert chosen or target.desired <= wished
    assert not starts or held_then <= limit


@settings(max_examples=8, deadline=None)
@given(rates=st.lists(st.floats(0.0, 12.0), min_size=2, max_size=3), limit=st.integers(1, 16), power=st.booleans())
def test_pods_never_hold_more_than_a_limit_and_constant_demand_settles(rates, limit, power):
    keys = [Key("team", f"m{index}") for index in range(len(rates))]
    plant = Plant({key: assistant(key=key) for key in keys}, NOW, dict(zip(keys, rates, strict=True)))
    accelerator = replace(A100, limit_watts=400.0 * limit, peak_watts=400.0) if power else replace(A100, limit=limit)
    plant.changes = {"accelerators": {"a100": accelerator}, "inventory": {}}
    made = []
    for _ in range(160):
        decision = plant.step(15.0)
        assert sum(UNITS[name] * len(pods) for (_, name), pods in plant.pods.items()) <= limit
        made.append(tuple(target.desired for each in decision.deployments.values() for target in each.replicas))
    changes = [index for index in range(1, 160) if made[index] != made[index - 1]]
    assert len([index for index in changes if index > 80]) <= 4


@pytest.mark.parametrize("lowered", [0, 3])
def test_a_limit_that_is_lowered_is_kept_as_soon_as_pods_are_gone(lowered):
    plant = Plant({KEY: assistant()}, NOW, {KEY: 8.0})
    for _ in range(20):
        plant.step(15.0)
    assert sum(UNITS[name] * len(pods) for (_, name), pods in plant.pods.items()) > 3
    plant.changes = {"accelerators": {"a100": replace(A100, limit=lowered)}, "inventory": {}}
    for _ in range(4):
        plant.step(15.0)
    assert sum(UNITS[name] * len(pods) for (_, name), pods in plant.pods.items()) <= lowered
