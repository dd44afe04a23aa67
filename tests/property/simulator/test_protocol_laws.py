import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jevons.simulator.protocol.front import cost_at, neighbours, pareto
from jevons.simulator.protocol.reference import plan

points = st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 100)), min_size=1, max_size=12)


@given(points, st.floats(0, 1), st.floats(0, 1))
def test_more_attainment_never_costs_less(some, one, other):
    attainment, cost = np.array(some).T
    low, high = (cost_at(attainment, cost, target) for target in sorted((one, other)))
    assert np.isnan(high) or low <= high * (1 + 1e-9)


@given(points, st.floats(0, 1))
def test_the_cost_lies_between_those_of_the_neighbours(some, target):
    attainment, cost = np.array(some).T
    between, found = neighbours(attainment, cost, target), cost_at(attainment, cost, target)
    if between is None:
        assert np.isnan(found)
    else:
        assert cost[between[0]] * (1 - 1e-9) <= found <= cost[between[1]] * (1 + 1e-9)


@given(points)
def test_every_point_is_on_the_front_or_beaten_by_one_that_is(some):
    attainment, cost = np.array(some).T
    front = pareto(attainment, cost)
    assert (np.diff(attainment[front]) > 0).all()
    assert all(any(attainment[on] >= attainment[at] and cost[on] <= cost[at] for on in front) for at in range(len(cost)))


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=8), st.floats(0.1, 3), st.floats(0, 3))
def test_dearer_misses_are_fewer(table, start, mu):
    missed = -np.sort(-np.array(table, float), axis=1)
    lost = [missed[np.arange(len(missed)), plan(missed, price=1.0, start=start, mu=some)[0]].sum() for some in (mu, 2 * mu + 0.1)]
    assert lost[1] <= lost[0]
