"""The worked example: the article's arithmetic exactly, and a model column that is what the engine model says."""

import pytest

from jevons.api.profiles import table
from jevons.simulator import paradox


def test_the_article_s_bill_is_exact_at_every_step():
    bills = [(sum(step.gpus), paradox.usd_per_month(sum(step.gpus)), paradox.per_1k(paradox.usd_per_month(sum(step.gpus)))) for step in paradox.STEPS]
    assert bills == [(24, 172_800, 5.76), (12, 86_400, 2.88), (8, 57_600, 1.92), (6, 43_200, 1.44), (4, 28_800, 0.96)]


def test_the_steps_are_those_of_the_article():
    assert [step.gpus for step in paradox.STEPS] == [(24, 0), (12, 0), (6, 2), (4, 2), (3, 1)]


def test_the_model_s_column_is_run_and_its_orderings_make_sense():
    rows = paradox.rows(table(), length_s=120.0)
    keeping_up = [sum(row.keeping_up_gpus) for row in rows]
    assert keeping_up[0] > keeping_up[1] > keeping_up[2] >= keeping_up[4]
    for row in rows[1:]:
        assert row.model_gpus is not None
        assert sum(row.model_gpus) >= sum(row.keeping_up_gpus)
        assert row.model_usd_per_month == 7_200 * sum(row.model_gpus)


def test_more_hits_need_no_more_accelerators():
    few, many = (sum(paradox.rows(table(), hit_rate=rate, length_s=60.0)[-1].keeping_up_gpus) for rate in (0.0, 0.8))
    assert many <= few


def test_a_hit_rate_outside_its_range_is_refused():
    with pytest.raises(ValueError, match=r"hit_rate: 1\.5"):
        paradox.rows(table(), hit_rate=1.5)
