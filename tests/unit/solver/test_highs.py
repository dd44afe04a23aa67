"""The solver behind the core's port: silent, the same every time, and no answer rather than an error."""

from __future__ import annotations

import math

import pytest

from jevons.core.milp import Model
from jevons.solver import highs


def knapsack(count: int = 12) -> tuple[Model, list[int]]:
    model = Model()
    columns = [model.column(-float(7 + 5 * index % 11), upper=1.0, whole=True) for index in range(count)]
    model.row([(column, 3.0 + 7 * column % 5) for column in columns], upper=17.0)
    return model, columns


def test_it_says_nothing(capfd):
    assert highs.solve(knapsack()[0]) is not None
    assert capfd.readouterr() == ("", "")


def test_the_same_programme_has_the_same_answer_every_time():
    answers = [highs.solve(knapsack(20)[0]) for _ in range(3)]
    assert answers[0] is not None
    assert answers[0].proven
    assert answers == [answers[0]] * 3


def test_whole_columns_are_whole_and_rows_hold():
    model, columns = knapsack()
    answer = highs.solve(model)
    assert all(math.isclose(answer.values[column], round(answer.values[column]), abs_tol=1e-6) for column in columns)
    assert sum(answer.values[column] * (3.0 + 7 * column % 5) for column in columns) <= 17.0 + 1e-6


@pytest.mark.parametrize(("lower", "cost"), [(5.0, 1.0), (0.0, -1.0)])
def test_what_is_infeasible_or_unbounded_is_no_answer(lower, cost):
    model = Model()
    column = model.column(cost, upper=math.inf if cost < 0 else 1.0)
    model.row([(column, 1.0)], lower=lower)
    assert highs.solve(model) is None


def test_more_work_than_it_is_allowed_gives_the_best_so_far_or_nothing(monkeypatch):
    monkeypatch.setattr(highs, "NODES", 0)
    answer = highs.solve(knapsack(40)[0])
    assert answer is None or answer.cost <= 0.0


def test_a_point_to_begin_with_changes_no_answer_be_it_good_or_impossible():
    plain, columns = knapsack(20)
    best = highs.solve(plain)
    for values in ([round(best.values[column]) for column in columns], [1] * 20, [0] * 20):
        model, _ = knapsack(20)
        model.begin = [(column, float(value)) for column, value in zip(columns, values, strict=True)]
        assert highs.solve(model).cost == pytest.approx(best.cost, rel=highs.GAP)
