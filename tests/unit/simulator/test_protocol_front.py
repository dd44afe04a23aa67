import math
from dataclasses import replace

import numpy as np
import pytest

from jevons.simulator.protocol.bootstrap import Points, cost_interval, ratio_interval, resamples, whole
from jevons.simulator.protocol.front import cost_at, effective, neighbours, pareto


def points(attainment, cost, *, units=4, offered=1000.0, worst=1.0):
    """Settings with the same attainment and cost per 1,000 in every unit; two units per seed."""
    attainment, cost = np.asarray(attainment, float), np.asarray(cost, float)
    shape = (len(attainment), units)
    return Points(
        offered=np.full(units, offered),
        met=np.broadcast_to(attainment[:, None] * offered, shape),
        usd=np.broadcast_to(cost[:, None] * offered / 1000, shape),
        worst=np.full((len(attainment), units // 2), worst),
        seed=np.repeat(np.arange(units // 2), 2).astype(float),
        correct=np.broadcast_to(attainment[:, None] * offered, shape),
    )


def test_worked_example():
    assert cost_at(np.array([0.8, 1.0]), np.array([4.0, 8.0]), 0.9) == pytest.approx(6.0)


def test_beaten_points_do_not_count():
    attainment, cost = np.array([0.9, 0.8, 0.95]), np.array([5.0, 6.0, 7.0])
    assert pareto(attainment, cost).tolist() == [0, 2]
    assert cost_at(attainment, cost, 0.9) == 5.0
    assert cost_at(attainment, cost, 0.925) == pytest.approx(6.0)
    assert neighbours(attainment, cost, 0.925) == (0, 2)


def test_what_is_not_reached_is_unreached_and_what_is_not_for_sale_costs_the_cheapest():
    attainment, cost = np.array([0.9, 0.95]), np.array([5.0, 7.0])
    assert math.isnan(cost_at(attainment, cost, 0.99))
    assert neighbours(attainment, cost, 0.99) is None
    assert cost_at(attainment, cost, 0.5) == 5.0
    assert neighbours(attainment, cost, 0.5) == (0, 0)


def test_a_cheap_point_above_the_target_beats_dear_ones_below_it():
    assert cost_at(np.array([0.85, 0.99]), np.array([9.0, 3.0]), 0.9) == 3.0


def test_of_equal_attainment_the_cheaper_one_counts():
    assert cost_at(np.array([0.8, 0.8, 1.0]), np.array([6.0, 4.0, 8.0]), 0.9) == pytest.approx(6.0)


def test_a_bad_quarter_of_an_hour_limits_what_a_point_counts_for():
    assert effective(np.array([0.97, 0.97]), np.array([0.75, 0.9])).tolist() == pytest.approx([0.85, 0.97])


def test_many_resamples_at_once_are_the_same_as_one_by_one():
    chance = np.random.default_rng(1)
    attainment, cost = chance.random((50, 7)), chance.random((50, 7)) + 0.1
    together = cost_at(attainment, cost, 0.6)
    alone = [cost_at(attainment[row], cost[row], 0.6) for row in range(50)]
    assert np.allclose(together, alone, equal_nan=True)


def test_attainments_and_costs_are_those_of_the_whole():
    attainment, worst, cost = points([0.9, 0.99], [2.0, 3.0], worst=0.8).at(whole(4))
    assert attainment[0].tolist() == pytest.approx([0.9, 0.99])
    assert worst[0].tolist() == pytest.approx([0.8, 0.8])
    assert cost[0].tolist() == pytest.approx([2.0, 3.0])


def test_without_spread_the_interval_is_the_ratio():
    found = ratio_interval(points([0.9, 0.99], [2.0, 3.0]), points([0.9, 0.99], [4.0, 6.0]), 0.95)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_what_is_hard_for_all_cancels_in_a_paired_ratio():
    chance = np.random.default_rng(2)
    hard = chance.random(20) * 9 + 1

    def one(price):
        return Points(np.full(20, 100.0), np.full((1, 20), 96.0), price * hard[None, :], np.ones((1, 20)), np.arange(20.0), np.full((1, 20), 96.0))

    ratio = ratio_interval(one(1.0), one(2.0), 0.95)
    cost = cost_interval(one(1.0), 0.95)
    assert (ratio.low, ratio.high) == pytest.approx((0.5, 0.5))
    assert cost.high - cost.low > 5.0


def test_only_one_of_two_reaches_the_target():
    good, bad = points([0.99], [2.0]), points([0.9], [1.0])
    assert ratio_interval(good, bad, 0.95).value == 0.0
    assert ratio_interval(bad, good, 0.95).value == math.inf
    assert math.isnan(ratio_interval(bad, bad, 0.95).value)
    assert math.isnan(cost_interval(bad, 0.95).value)


def test_a_bad_window_binds_or_does_not():
    one = points([0.97], [2.0], worst=0.5)
    assert math.isnan(cost_interval(one, 0.95).value)
    assert cost_interval(one, 0.95, worst_window=False).value == pytest.approx(2.0)


def test_systems_on_different_windows_are_not_compared():
    with pytest.raises(ValueError, match="different windows"):
        ratio_interval(points([0.9], [1.0]), points([0.9], [1.0], units=6), 0.9)


def test_resamples_are_the_same_for_all_and_draw_as_many_units_as_there_are():
    assert np.array_equal(resamples(7), resamples(7))
    assert (resamples(7).sum(axis=1) == 7).all()


def test_a_right_answer_costs_more_than_a_request_by_those_that_are_wrong():
    asked = points([0.9, 1.0], [4.0, 8.0])
    wrong = replace(asked, correct=asked.met / 2)
    per_offered, per_right = (float(wrong.costs(whole(len(asked.offered)), 1.0, per_correct=flag)[0]) for flag in (False, True))
    assert per_right == pytest.approx(2 * per_offered)
