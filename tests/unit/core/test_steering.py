"""Courses: when they are weighed, what is adopted, how a change is carried out, and what happens without an answer."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from core_worlds import A100, KEY, NOW, SMALL, demand, deployment, pod, state, variant_state, world

from jevons.core import coordination
from jevons.core.decide import decide
from jevons.core.memory import Memory
from jevons.core.observed import Known
from jevons.core.snapshot import Inventory, PodSignals
from jevons.core.spec import AcceleratorClass, Key, Price
from jevons.core.speed import slower
from jevons.core.steering import MOST_SOLVES
from jevons.solver import highs

TWIN = replace(SMALL, name="twin", quality=1.0, accelerator_class="other")
BEST = replace(SMALL, name="best", quality=1.0)
OTHER = AcceleratorClass("other", prices=(Price(0.0, Decimal("4.5")),))


@pytest.fixture(autouse=True)
def long_known_traffic(monkeypatch):
    """What these tests ask in one pass is asked of traffic that is not new."""
    monkeypatch.setattr(coordination, "YOUNG_S", 0.0)


class Counting:
    """The solver, counting what it is asked."""

    def __init__(self, *, answers=True):
        self.asked, self.answers = 0, answers

    def __call__(self, model):
        self.asked += 1
        return highs.solve(model) if self.answers else None


def two(per_s, *, key=KEY, large=1, small=1, running=3.0, **changes):
    pods = {
        "large": variant_state(*[pod(f"{key}l{index}", running=running) for index in range(large)]),
        "small": variant_state(*[pod(f"{key}s{index}", running=running) for index in range(small)]),
    }
    return state(deployment(key=key, **changes), pods, demand=(demand(per_s),), last_arrival_at_s=NOW)


def twins(per_s, *, best=1, twin=0):
    pods = {
        "best": variant_state(*[pod(f"b{index}", running=3.0) for index in range(best)]),
        "twin": variant_state(*[pod(f"t{index}", running=3.0) for index in range(twin)]),
    }
    spec = deployment(BEST, TWIN)
    return state(spec, pods, demand=(demand(per_s),), last_arrival_at_s=NOW)


def course_of(decision, key=KEY):
    return decision.memory.deployments[key].course


def test_within_its_range_a_course_costs_nothing():
    solver = Counting()
    first = decide(world(two(2.0)), NOW, solver)
    assert solver.asked
    asked = solver.asked
    for step in range(1, 20):
        again = two(2.0 * (1.0 + 0.001 * step))
        fresh = replace(again, demand=(demand(2.0 * (1.0 + 0.001 * step), NOW + 15.0),))
        second = decide(world(fresh, now=NOW + 15.0, memory=first.memory), NOW + 15.0, solver)
    assert solver.asked == asked
    assert course_of(second) == course_of(first)


@pytest.mark.parametrize("factor", [0.3, 4.0])
def test_beyond_its_range_it_is_weighed_again(factor):
    solver = Counting()
    first = decide(world(two(2.0)), NOW, solver)
    asked = solver.asked
    later = replace(two(2.0 * factor), demand=(demand(2.0 * factor, NOW + 15.0),))
    decide(world(later, now=NOW + 15.0, memory=first.memory), NOW + 15.0, solver)
    assert solver.asked > asked


def test_a_price_that_changes_ends_a_course():
    solver = Counting()
    first = decide(world(two(2.0)), NOW, solver)
    asked = solver.asked
    dearer = {"a100": AcceleratorClass("a100", prices=(Price(0.0, Decimal("5.43")),))}
    decide(world(two(2.0), memory=first.memory, accelerators=dearer), NOW, solver)
    assert solver.asked > asked


def test_without_an_answer_the_rule_stands():
    ruled = decide(world(two(9.0, large=3)), NOW)
    made = decide(world(two(9.0, large=3)), NOW, Counting(answers=False))
    assert [target.desired for target in made.deployments[KEY].replicas] == [target.desired for target in ruled.deployments[KEY].replicas]
    assert made.deployments[KEY].routing.classes == ruled.deployments[KEY].routing.classes


def test_one_variant_is_never_a_question():
    solver = Counting()
    spec = deployment(SMALL)
    item = state(spec, {"small": variant_state(pod("a", running=9.0))}, demand=(demand(20.0),), last_arrival_at_s=NOW)
    made = decide(world(item), NOW, solver)
    assert solver.asked == 0
    assert made == decide(world(item), NOW)


def test_a_cold_start_is_spread_over_passes():
    keys = [Key("team", f"m{index}") for index in range(12)]
    items = [two(2.0 + index / 10.0, key=key) for index, key in enumerate(keys)]
    solver, memory, seen = Counting(), Memory(), []
    for _ in range(8):
        before = solver.asked
        memory = decide(world(*items, memory=memory), NOW, solver).memory
        seen.append(solver.asked - before)
    # every solve states a programme and evens it out
    assert max(seen) <= 2 * (MOST_SOLVES + 2)
    assert all(memory.deployments[key].course is not None for key in keys)
    assert seen[-1] == 0


def test_a_few_requests_do_not_keep_two_variants_awake():
    made = decide(world(two(0.3, small=0)), NOW, highs.solve)
    ruled = decide(world(two(0.3, small=0)), NOW)
    assert [target.desired for target in ruled.deployments[KEY].replicas] == [1, 1]
    assert [target.desired for target in made.deployments[KEY].replicas] == [1, 0]
    assert made.deployments[KEY].routing.classes[-1].min_score == ()


def test_a_change_holds_both_until_the_new_one_is_ready():
    accelerators = {"a100": A100, "other": AcceleratorClass("other", prices=(Price(0.0, Decimal("4.5")), Price(NOW, Decimal("0.9"))))}

    def passed(memory, now, twin, running=3.0):
        pods = {"best": variant_state(pod("b", now, running=running)), "twin": variant_state(*twin)}
        item = state(deployment(BEST, TWIN), pods, demand=(demand(4.0, now),), last_arrival_at_s=now)
        made = decide(world(item, now=now, accelerators=accelerators, inventory={}, memory=memory), now, highs.solve)
        cuts = made.deployments[KEY].routing.classes[-1].min_score
        best = made.deployments[KEY].routing.best
        return made, {target.variant: target.desired for target in made.deployments[KEY].replicas}, cuts[0][0] if cuts else best

    made, desired, goes_to = passed(Memory(), NOW - 15.0, ())
    assert (desired, goes_to) == ({"best": 1, "twin": 0}, "best")
    made, desired, goes_to = passed(made.memory, NOW, ())
    assert (desired, goes_to) == ({"best": 1, "twin": 1}, "best")
    loading = pod("t", NOW + 15.0, created_at_s=NOW, ready_at_s=None)
    made, desired, goes_to = passed(made.memory, NOW + 15.0, [loading])
    assert (desired, goes_to) == ({"best": 1, "twin": 1}, "best")
    made, desired, goes_to = passed(made.memory, NOW + 75.0, [pod("t", NOW + 75.0)])
    assert (desired, goes_to) == ({"best": 1, "twin": 1}, "twin")
    for step in range(1, 40):
        made, desired, goes_to = passed(made.memory, NOW + 75.0 + 15.0 * step, [pod("t", NOW + 75.0 + 15.0 * step, running=4.0)], running=0.0)
    assert (desired, goes_to) == ({"best": 0, "twin": 1}, "twin")


@pytest.mark.parametrize(("startup_s", "grows"), [(60.0, False), (600.0, True)])
def test_a_queue_on_the_variant_that_is_left_orders_more_of_it_only_when_its_successor_starts_slower(startup_s, grows):
    cheap = {"other": AcceleratorClass("other", prices=(Price(0.0, Decimal("0.9")),)), "a100": A100}
    spec = deployment(BEST, replace(TWIN, startup_s=startup_s))
    pods = {"best": variant_state(pod("b", running=250.0, waiting=300.0)), "twin": variant_state()}
    item = state(spec, pods, demand=(demand(20.0),), last_arrival_at_s=NOW)
    made = decide(world(item, accelerators=cheap, inventory={}), NOW)
    desired = {target.variant: target.desired for target in made.deployments[KEY].replicas}
    assert desired["twin"] >= 1
    assert (desired["best"] > 1) is grows


def test_accelerators_that_are_short_go_to_whoever_has_no_good_other_way():
    accelerators = {"a100": A100, "other": OTHER}
    plenty = world(twins(3.0), accelerators=accelerators, inventory={})
    assert course_of(decide(plenty, NOW, highs.solve)).way.units == (("a100", 1),)
    short = {"a100": Known(Inventory(1, 1, 1), NOW)}
    # one a100 is there, and it is held by somebody else
    made = decide(world(twins(3.0, best=0, twin=1), accelerators=accelerators, inventory=short), NOW, highs.solve)
    assert course_of(made).way.units == (("other", 1),)
    assert [target.desired for target in made.deployments[KEY].replicas] == [0, 1]


def test_two_that_want_the_last_accelerator_share_it_out_by_priority_and_price():
    accelerators = {"a100": A100, "other": OTHER}
    keys = [Key("team", "a"), Key("team", "b")]
    items = []
    for key in keys:
        item = twins(3.0, best=0, twin=0)
        items.append(replace(item, spec=replace(item.spec, key=key, model=key.name)))
    limited = {**accelerators, "a100": replace(A100, limit=1)}
    made = decide(world(*items, accelerators=limited, inventory={}), NOW, highs.solve)
    units = sorted(course_of(made, key).way.units for key in keys)
    assert units == [(("a100", 1),), (("other", 1),)]
    assert all(dict(course_of(made, key).alpha)["a100"] > 0.0 for key in keys)
    again = decide(world(*items, accelerators=limited, inventory={}, memory=made.memory), NOW, highs.solve)
    assert again.memory == made.memory
    shown = {name: value for name, value, _ in again.deployments[keys[0]].explanation.inputs}
    assert "alpha[a100]" in shown


def test_power_bounds_what_may_work_at_once():
    hungry = replace(A100, limit_watts=10_000.0, peak_watts=400.0, idle_watts=60.0)
    nodes = {"a100": Known(Inventory(5, 40, 0), NOW)}

    def free(accelerator, **changes):
        return coordination._free(world(twins(3.0), accelerators={"a100": accelerator}, **{"inventory": {}, **changes}))

    assert free(hungry) == {"a100": 25}
    assert free(hungry, inventory=nodes) == {"a100": 22}
    # one of ours holds one, ten are others'
    assert free(hungry, inventory={"a100": Known(Inventory(5, 40, 11), NOW)}) == {"a100": 12}
    assert free(replace(hungry, limit=3)) == {"a100": 3}
    assert free(replace(A100, limit_watts=10_000.0)) == {}


def test_without_a_peak_the_most_that_is_seen_to_be_drawn_counts():
    item = two(3.0)
    drawing = replace(item.variants["large"].pods[0], signals=PodSignals(power_watts=Known(4 * 338.0, NOW)))
    item = replace(item, variants={**item.variants, "large": replace(item.variants["large"], pods=(drawing,))})
    limited = {"a100": replace(A100, limit_watts=3_500.0)}
    assert coordination._free(world(item, accelerators=limited, inventory={})) == {"a100": 10}


def test_power_that_is_short_sends_the_second_deployment_elsewhere():
    keys = [Key("team", "a"), Key("team", "b")]
    items = []
    for key in keys:
        item = twins(3.0, best=0, twin=0)
        items.append(replace(item, spec=replace(item.spec, key=key, model=key.name)))
    limited = {"a100": replace(A100, limit_watts=700.0, peak_watts=400.0), "other": OTHER}
    made = decide(world(*items, accelerators=limited, inventory={}), NOW, highs.solve)
    assert sorted(course_of(made, key).way.units for key in keys) == [(("a100", 1),), (("other", 1),)]


def test_a_class_without_nodes_is_without_bound_for_nodes_may_come():
    accelerators = {"a100": A100, "other": OTHER}
    made = decide(world(twins(3.0), accelerators=accelerators, inventory={"a100": Known(Inventory(0, 0, 0), NOW)}), NOW, highs.solve)
    assert course_of(made).way.units == (("a100", 1),)


def test_explain_names_the_ways_the_prices_and_what_binds():
    shown = decide(world(two(2.5, small=1)), NOW, highs.solve).deployments[KEY].explanation
    assert any(name == "phi" and "late answer" in value for name, value, _ in shown.inputs)
    assert any(plan.startswith("routes and replicas together") for plan, _, _ in shown.alternatives)


def test_a_wrong_price_leaves_the_rule_of_accelerators_and_no_nonsense():
    for bad in ("NaN", "0", "-2", "Infinity"):
        accelerators = {"a100": A100, "other": AcceleratorClass("other", prices=(Price(0.0, Decimal(bad)),))}
        made = decide(world(twins(3.0), accelerators=accelerators), NOW, highs.solve)
        way = course_of(made).way
        assert 0.0 < way.usd_per_h < 1e3
        assert made.deployments[KEY].cost.variant_hourly_usd["best"] == Decimal("3.67")


def test_slower_variants_of_the_same_quality_fill_up_what_the_fast_one_leaves():
    slow = replace(TWIN, profile=slower(TWIN.profile, 3.0))
    spec = deployment(BEST, slow)
    prices = {
        "a100": AcceleratorClass("a100", prices=(Price(0.0, Decimal(10)),)),
        "other": AcceleratorClass("other", prices=(Price(0.0, Decimal(3)),)),
    }
    pods = {"best": variant_state(pod("b", running=9.0)), "twin": variant_state()}
    seen = {}
    for per_s in (4.0, 6.0, 8.0, 10.0):
        item = state(spec, pods, demand=(demand(per_s),), last_arrival_at_s=NOW)
        seen[per_s] = dict(course_of(decide(world(item, accelerators=prices, inventory={}), NOW, highs.solve)).way.units)
    assert seen[4.0] == {"a100": 1}
    assert any(len(units) == 2 for units in seen.values())


def test_traffic_that_has_just_begun_is_routed_by_the_rule(monkeypatch):
    monkeypatch.undo()
    solver, memory = Counting(), Memory()
    for age_s in (0.0, 60.0, 150.0):
        now = NOW + age_s
        later = replace(two(2.0), demand=(demand(2.0, now),))
        made = decide(world(later, now=now, memory=memory), now, solver)
        memory = made.memory
        assert (course_of(made) is not None) == (age_s >= 120.0)


def test_what_goes_wrong_for_one_leaves_it_on_the_rule_and_says_so():
    keys = [Key("team", "broken"), Key("team", "well")]
    broken = replace(two(2.0, key=keys[0]), demand=(demand(3.0),))
    asked = []

    def solver(model):
        asked.append(model)
        if len(asked) == 1:
            raise RuntimeError("boom")
        return highs.solve(model)

    made = decide(world(broken, two(2.0, key=keys[1])), NOW, solver)
    courses = {key.name: course_of(made, key) for key in keys}
    assert sorted(name for name, course in courses.items() if course is not None) in (["well"], ["broken"])
    failed = next(key for key in keys if courses[key.name] is None)
    assert any("boom" in text for text in made.deployments[failed].explanation.binding)
    assert all(target.desired is not None for target in made.deployments[failed].replicas)
