"""Benchmark B3: the coarse month, the yardsticks, and Jevons under its budget on a day."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jevons.classifier.model import read_curve
from jevons.core.snapshot import RouterCurve
from jevons.core.spec import Period
from jevons.simulator.protocol import budget_study
from jevons.simulator.protocol.budget_policies import Operator, Wish, cap_only, constant, linear
from jevons.simulator.protocol.budget_study import BudgetJob, summaries
from jevons.simulator.protocol.budget_world import DEMAND_STEP, PRICE_STEP, STARTUP_S, STEP_S, Month, in_time, kinds, month, season_of, step_of, worth

LARGE, SMALL = kinds()
ROUTER = RouterCurve(*read_curve())


def flat(per_s: float, steps: int = 12) -> Month:
    return Month(Period.HOUR, ROUTER, np.full(steps, per_s), np.ones(steps), "flat")


def test_demand_doubles_and_prices_rise_half_way() -> None:
    of = month(season_of(None), ROUTER, seed=0)
    half = of.steps // 2
    assert of.steps * STEP_S == 30 * 86_400
    assert of.arrived[half:].mean() / of.arrived[:half].mean() == pytest.approx(DEMAND_STEP, rel=0.1)
    assert set(of.price[:half]) == {1.0}
    assert set(of.price[half:]) == {PRICE_STEP}


def test_answers_in_time_never_fall_with_replicas_and_never_exceed_what_came() -> None:
    counts = np.arange(0.0, 30.0)
    answers = in_time(LARGE, np.full(30, 20.0), counts)
    assert answers[0] == 0.0
    assert (np.diff(answers) >= -1e-9).all()
    assert (answers <= 20.0).all()
    assert answers[-1] > 0.97 * 20.0


def test_an_overloaded_replica_answers_no_less_than_one_at_its_best_load() -> None:
    few, many = in_time(SMALL, np.array([5.0, 500.0]), np.ones(2))
    assert many >= few


def test_what_goes_small_by_score_is_worth_more_than_what_goes_by_chance() -> None:
    assert worth(ROUTER, 0.0, 0.0) == (0.0, pytest.approx(1.0))
    by_score, by_chance = worth(ROUTER, 0.5, 0.0), worth(ROUTER, 0.0, 0.5)
    assert by_score[0] + by_score[1] > by_chance[0] + by_chance[1]


def test_a_new_replica_is_paid_at_once_and_serves_after_its_start() -> None:
    of = flat(1.0)
    usd, fresh = step_of(of, 1, (1, 0), (0, 0), 0.0, 0.0)
    _, old = step_of(of, 1, (1, 0), (1, 0), 0.0, 0.0)
    assert usd == pytest.approx(LARGE.usd_per_h * STEP_S / 3600.0)
    assert 0.0 < fresh < old
    assert fresh >= old * (1.0 - STARTUP_S / STEP_S) * 0.99


def test_with_one_variant_up_everything_goes_there() -> None:
    assert step_of(flat(1.0), 1, (0, 1), (0, 1), 0.0, 0.0)[1] > 0.0
    assert step_of(flat(1.0), 1, (0, 0), (0, 0), 0.0, 0.0) == (0.0, 0.0)


def test_linear_pacing_is_never_ahead_of_the_calendar_and_no_pacing_ends_in_the_dark() -> None:
    of = flat(2.0)
    wishes = [Wish((2, 1), 0.0, 0.0)] * of.steps
    amount = 0.5 * (2 * LARGE.usd_per_h + SMALL.usd_per_h)
    paced, dark = linear(of, wishes, amount), cap_only(of, wishes, amount)
    assert (np.cumsum(paced.usd) <= amount * np.arange(1, of.steps + 1) / of.steps + 1e-9).all()
    assert dark.total_usd <= amount
    assert dark.replicas[0].sum() == 3
    assert dark.replicas[-1].sum() == 0


def test_the_best_constant_price_spends_the_budget_and_beats_both() -> None:
    of = month(season_of(None), ROUTER, seed=1, period=Period.DAY)
    wishes = [Wish((8, 2), 0.16, 0.0)] * of.steps
    amount = 1500.0
    best = constant(of, amount)
    assert best.total_usd == pytest.approx(amount, rel=1e-6)
    assert best.total_useful > max(linear(of, wishes, amount).total_useful, cap_only(of, wishes, amount).total_useful)


def test_more_money_than_can_be_used_is_not_spent() -> None:
    assert constant(flat(1.0), 1e9).total_usd < 1e9


def test_jevons_keeps_a_day_s_budget_and_its_ledger_agrees() -> None:
    of = month(season_of(None), ROUTER, seed=0, period=Period.DAY)
    operator = Operator(of, 3000.0)
    spent = operator.run()
    assert spent.total_usd <= 3000.0 * 1.01
    assert operator.metered_usd == pytest.approx(spent.total_usd, rel=0.02)
    assert spent.total_useful > 0.0


def test_a_job_compares_everybody_and_the_summary_names_the_worst_seed() -> None:
    rows = budget_study.work(BudgetJob(None, ROUTER, 0, (0.75,), Period.DAY))
    worse = [replace(row, seed=1, forfeited=row.forfeited + 0.5) for row in rows]
    found = {one.policy: one for one in summaries([*rows, *worse])}
    assert set(found) == set(budget_study.POLICIES)
    assert found["constant"].over_constant == pytest.approx(1.0)
    assert found["jevons"].worst_missed == max(row.missed for row in worse if row.policy == "jevons")
    assert found["jevons"].over_constant > found["linear"].over_constant > 0.0
    assert not found["jevons"].met


@pytest.mark.slow
def test_jevons_never_overspends_a_month_in_which_demand_doubles_and_prices_rise() -> None:
    rows = [row for seed in range(2) for row in budget_study.work(BudgetJob(None, ROUTER, seed, (0.6, 0.9)))]
    ours = [row for row in rows if row.policy == "jevons"]
    assert max(row.overspent for row in ours) <= budget_study.MAX_OVERSPENT
    assert min(row.over_constant for row in ours) > max(row.over_constant for row in rows if row.policy == "cap-only" and row.tightness == 0.6)
