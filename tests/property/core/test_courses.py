"""What must hold for every choice of routes and replicas: never worse than what runs, no money for less, no nonsense from bad prices."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

import pytest
from core_plant import Plant, assistant
from core_worlds import A100, CURVE, KEY, LARGE, NOW, SMALL, demand, deployment, pod, spent, state, variant_state, world
from hypothesis import given, settings
from hypothesis import strategies as st

from jevons.core import coordination
from jevons.core import ground as grounds
from jevons.core.decide import decide
from jevons.core.facts import gather
from jevons.core.memory import DeploymentMemory, Memory
from jevons.core.metering import Tariff
from jevons.core.shadowprices import ShadowPrices
from jevons.core.spec import BudgetSpec, Key, Period, Price, Rung
from jevons.core.steering import TOLERANCE, Weighing, rule_of
from jevons.solver import highs

RATES = st.floats(0.01, 40.0)
PODS = st.integers(0, 4)
MIDDLE = replace(LARGE, name="middle", quality=0.95, accelerator_count=2, startup_s=90.0)
FEW = settings(max_examples=12, deadline=None)


@pytest.fixture(autouse=True, scope="module")
def _long_known_traffic():
    """What is asked in one pass here is asked of traffic that is not new."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coordination, "YOUNG_S", 0.0)
        yield


def snapshot(rate, large, middle, small, **changes):
    pods = {
        "large": variant_state(*[pod(f"l{index}", running=2.0) for index in range(large)]),
        "middle": variant_state(*[pod(f"m{index}", running=2.0) for index in range(middle)]),
        "small": variant_state(*[pod(f"s{index}", running=2.0) for index in range(small)]),
    }
    spec = deployment(LARGE, MIDDLE, SMALL, **changes.pop("spec", {}))
    return world(state(spec, pods, demand=(demand(rate),), last_arrival_at_s=NOW), **changes)


def ground_of(snapshot, memory=None):
    ground = grounds.ground_of(gather(snapshot, snapshot.deployments[KEY], memory or DeploymentMemory(), Tariff(snapshot.accelerators, NOW)), CURVE)
    ground.shadow = ShadowPrices()
    return ground


def never_worse(rate, factor, large, middle, small):
    first = snapshot(rate, large, middle, small)
    weighing = Weighing(ground_of(first), {})
    course = weighing.course_taken(highs.solve)
    ruled, taken = weighing.weighed(rule_of(weighing.ground)), weighing.weighed(course.aim)
    assert taken.usd <= ruled.usd + 1e-9
    # and with other demand, on that course: staying is always one of the ways
    ground = ground_of(snapshot(rate * factor, large, middle, small), DeploymentMemory(course=course))
    ground.course = course
    again = Weighing(ground, {})
    kept, found = again.weighed(course.aim), again.course_taken(highs.solve)
    if found.aim != course.aim:
        assert again.weighed(found.aim).usd <= kept.usd * (1.0 - TOLERANCE) + 1e-9


@FEW
@given(rate=RATES, factor=st.floats(0.2, 5.0), large=PODS, middle=PODS, small=PODS)
def test_a_course_is_never_worse_than_what_runs(rate, factor, large, middle, small):
    never_worse(rate, factor, large, middle, small)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=10_000, deadline=None)
@given(rate=RATES, factor=st.floats(0.2, 5.0), large=PODS, middle=PODS, small=PODS)
def test_a_course_is_never_worse_than_what_runs_in_ten_thousand_cases(rate, factor, large, middle, small):
    never_worse(rate, factor, large, middle, small)


def hourly(decision):
    counts = {"large": 4, "middle": 2, "small": 1}
    return sum((target.desired or 0) * counts[target.variant] * Decimal("3.67") for target in decision.deployments[KEY].replicas)


@FEW
@given(
    rate=RATES,
    large=PODS,
    middle=PODS,
    small=PODS,
    low=st.decimals(0, 900, places=1),
    high=st.decimals(0, 900, places=1),
    usd=st.floats(0, 200),
    rung=st.sampled_from([Rung.DEGRADE, Rung.CAP, Rung.BLOCK]),
)
def test_a_lower_amount_never_costs_more(*, rate, large, middle, small, low, high, usd, rung):
    costs = []
    for amount in sorted((low, high)):
        first = snapshot(rate, large, middle, small, spec={"budget": BudgetSpec(amount, Period.DAY, "UTC", rung)}, ledger=spent(usd))
        costs.append(hourly(decide(first, NOW, highs.solve)))
    assert costs[0] <= costs[1]


@FEW
@given(bad=st.sampled_from(["NaN", "sNaN", "0", "-3", "Infinity", "1E+9"]), rate=RATES, large=PODS, small=PODS, which=st.booleans())
def test_a_bad_price_poisons_no_total(bad, rate, large, small, which):
    other = replace(A100, name="other", prices=(Price(0.0, Decimal(bad)),))
    spec = deployment(LARGE, replace(SMALL, accelerator_class="other") if which else SMALL)
    pods = {
        "large": variant_state(*[pod(f"l{index}", running=2.0) for index in range(large)]),
        "small": variant_state(*[pod(f"s{index}", running=2.0) for index in range(small)]),
    }
    item = state(spec, pods, demand=(demand(rate),), last_arrival_at_s=NOW)
    made = decide(world(item, accelerators={"a100": A100, "other": other}, ledger=spent(3)), NOW, highs.solve)
    course, cost = made.memory.deployments[KEY].course, made.deployments[KEY].cost
    assert course is not None
    assert math.isfinite(course.way.usd_per_h)
    assert all(usd.is_finite() for usd in cost.variant_hourly_usd.values())
    assert cost.period_spend_usd.is_finite()
    assert all(target.desired is not None and 0 <= target.desired <= 10 for target in made.deployments[KEY].replicas)


@FEW
@given(rate=RATES, large=PODS, middle=PODS, small=PODS)
def test_the_same_moment_decided_again_changes_nothing_and_checkpoints_keep_the_course(rate, large, middle, small):
    first = snapshot(rate, large, middle, small)
    made = decide(first, NOW, highs.solve)
    stored = Memory.from_json({KEY: made.memory.to_json(KEY)})
    assert stored.deployments == made.memory.deployments
    again = decide(replace(first, memory=stored, ledger=made.ledger), NOW, highs.solve)
    assert again.memory.deployments == made.memory.deployments
    assert again.deployments[KEY].replicas == made.deployments[KEY].replicas
    assert decide(first, NOW, highs.solve) == made


@settings(max_examples=3, deadline=None)
@given(rate=st.floats(0.05, 12.0))
def test_constant_demand_settles_on_one_course(rate):
    plant = Plant({KEY: assistant()}, NOW, {KEY: rate}, solver=highs.solve)
    courses = []
    for _ in range(160):
        plant.step(30.0)
        course = plant.memory.deployments[KEY].course
        courses.append((course.now, course.aim) if course is not None else None)
    # until what is learned of the replicas' speed stands still, and the money lost by staying was added up for an hour (PATIENCE_S)
    assert len(set(courses[145:])) == 1
    assert len([index for index in range(1, 160) if courses[index] != courses[index - 1]]) <= 12


@settings(max_examples=4, deadline=None)
@given(rates=st.lists(st.floats(0.5, 12.0), min_size=2, max_size=4), limit=st.integers(1, 24))
def test_members_of_one_pool_fit_into_it_where_they_can(rates, limit):
    pool = {"a100": replace(A100, limit=limit), "other": replace(A100, name="other")}
    items = []
    for index, rate in enumerate(rates):
        item = snapshot(rate, 0, 0, 0).deployments[KEY]
        twin = replace(LARGE, name="twin", accelerator_class="other", max_replicas=12)
        spec = replace(item.spec, key=Key("team", f"m{index}"), variants=(replace(LARGE, max_replicas=12), twin))
        variants = {"large": variant_state(), "twin": variant_state()}
        items.append(replace(item, spec=spec, variants=variants))
    memory = Memory()
    for _ in range(4):
        made = decide(world(*items, accelerators=pool, inventory={}, memory=memory), NOW, highs.solve)
        memory = made.memory
    courses = [memory.deployments[item.spec.key].course for item in items]
    # where the pool is smaller than a replica there is no choice
    assert all((course is None) is (limit < LARGE.accelerator_count) for course in courses)
    assert sum(course.way.of("a100") for course in courses if course is not None) <= limit
