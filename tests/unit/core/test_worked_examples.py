"""The worked numbers that the docstrings of the core promise."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from core_worlds import A100, CURVE, LARGE_PROFILE

from jevons.core import attainment, budget, capacity, conditions, forecast, hazard, idle, levels, money, periods, routing, sizing, speed, usable
from jevons.core.load import Work
from jevons.core.memory import Learned, Trend
from jevons.core.observed import Known, Unknown
from jevons.core.snapshot import Outcomes
from jevons.core.spec import AcceleratorClass, BudgetSpec, Period, Price, Rung


def test_price_steps_are_felt_at_their_second():
    accelerator = AcceleratorClass("a100", prices=(Price(0.0, Decimal("3.67")), Price(100.0, Decimal("5.43"))))
    assert money.accelerator_usd_per_h(accelerator, 99.0) == Decimal("3.67")
    assert money.accelerator_usd_per_h(accelerator, 100.0) == Decimal("5.43")
    assert money.spend(accelerator, 0.0, 200.0)[0] == pytest.approx((Decimal("3.67") + Decimal("5.43")) / 36, abs=Decimal("1e-20"))


@pytest.mark.parametrize("bad", [Decimal("NaN"), Decimal(0), Decimal(-1), Decimal("Infinity"), Decimal("1e9")])
def test_a_price_that_is_none_poisons_nothing(bad):
    accelerator = AcceleratorClass("a100", prices=(Price(0.0, Decimal(2)), Price(1800.0, bad)))
    assert money.spend(accelerator, 0.0, 3600.0) == (Decimal(1), 1800.0)


def test_a_day_with_23_hours_and_one_with_25():
    spring, autumn = 1_774_780_000.0, 1_792_900_000.0  # in 2026-03-29 and 2026-10-25
    for at_s, hours in ((spring, 23), (autumn, 25)):
        start_s, end_s = periods.bounds(Period.DAY, "Europe/Paris", at_s)
        assert start_s <= at_s < end_s
        assert end_s - start_s == hours * 3600.0


@pytest.mark.parametrize(("period", "days"), [(Period.HOUR, 1 / 24), (Period.DAY, 1), (Period.WEEK, 7), (Period.MONTH, 31)])
def test_periods_have_their_length(period, days):
    start_s, end_s = periods.bounds(period, "UTC", 1_767_261_600.0)
    assert end_s - start_s == days * 86_400.0
    assert periods.bounds(period, "UTC", end_s)[0] == end_s


def test_an_unknown_time_zone_is_named():
    with pytest.raises(periods.UnknownTimeZoneError, match="Mars/Olympus"):
        periods.bounds(Period.DAY, "Mars/Olympus", 0.0)


def test_the_forecast_believes_a_part_of_what_is_above_the_base():
    assert forecast.ahead(Trend(3.0, 600.0, base=2.0, since_s=0.0)) == pytest.approx(2.6)
    assert forecast.ahead(Trend(1.0, 600.0, base=2.0, since_s=0.0)) == pytest.approx(1.4)


def test_a_calm_half_hour_does_not_make_the_next_one_sure():
    calm = Trend(3.0, 3600.0, base=3.0, since_s=0.0, learned=Learned(bets=100.0), horizon_s=120.0)
    assert forecast.doubt(calm, 3.0) == pytest.approx(0.15**2)
    assert forecast.doubt(replace(calm, horizon_s=900.0), 3.0) == pytest.approx(0.15**2 * 2.5)


def test_a_wrong_profile_is_found_out_soon():
    slowness, known = speed.learned(0.0, 0.0, 1.0 / 3.0, running=20.0, overloaded=False, dispersion=1.0, dt_s=60.0)
    assert slowness == pytest.approx(1.0 / 3.0 * (math.log(1.0 / 3.0) - speed.BIAS))
    assert known == 1.0
    later, _ = speed.learned(slowness, 15.0, 1.5, running=20.0, overloaded=False, dispersion=1.0, dt_s=60.0)
    assert later - slowness == pytest.approx(0.065 * (math.log(1.5) - speed.BIAS), rel=0.02)


def test_capacity_reproduces_the_table():
    one = capacity.of_replica(LARGE_PROFILE, 1155, 211, 0.050, 2.0)
    assert one.requests_per_s == pytest.approx(1.77, abs=0.01)
    assert one.concurrency == pytest.approx(18.7, abs=0.1)
    assert one.bound == "InterTokenLatency"


def test_objectives_that_a_lone_request_misses_are_out_of_reach():
    one = capacity.of_replica(LARGE_PROFILE, 1155, 211, 0.020, 2.0)
    assert not one.reachable
    assert one.requests_per_s > 0


def test_kv_memory_bounds_long_prompts():
    one = capacity.of_replica(replace(LARGE_PROFILE, kv_tokens=20_000), 4000, 500, 0.060, 10.0)
    assert one.bound == "KVMemory"
    assert one.concurrency == pytest.approx(4.0)


def test_headroom_shrinks_with_the_fleet():
    assert sizing.headroom_quantile(95.0, 0.0) == pytest.approx(1.645, abs=0.001)
    assert sizing.replicas_for(2.0, 16.0, quantile=1.645) == 3
    spare = [sizing.replicas_for(work, 4.0, quantile=1.645) / work for work in (1.0, 4.0, 16.0, 64.0)]
    assert spare == sorted(spare, reverse=True)


def test_break_even_without_history():
    assert idle.keep_for_s(60.0, 40.0, ()) == 100.0
    assert hazard.windows(60.0, 40.0, ()) == ((0.0, 100.0),)


def test_a_model_called_every_two_minutes_stays_and_one_called_hourly_sleeps():
    often = rarely = ()
    for _ in range(30):
        often, rarely = idle.with_gap(often, 120.0), idle.with_gap(rarely, 3600.0)
    assert idle.keep_for_s(240.0, 40.0, often) > 120.0
    assert idle.keep_for_s(240.0, 40.0, rarely) == idle.SHORTEST_S


def test_without_a_classifier_a_sixth_may_go_small():
    options = (routing.Option("small", 0.7, 1.0), routing.Option("large", 1.0, 8.0))
    split = routing.split(options, best_quality=1.0, shares=routing.score_shares(()), curve=routing.FLAT, min_quality=0.95, degraded_share=0.0)
    assert dict(split.min_score)["small"] == pytest.approx(0.84, abs=0.011)
    assert split.expected_quality >= 0.95
    assert dict(split.shares)["small"] == pytest.approx(1 / 6, abs=0.01)


def test_a_classifier_sends_more_small_at_the_same_quality():
    options = (routing.Option("small", 0.7, 1.0), routing.Option("large", 1.0, 8.0))
    split = routing.split(options, best_quality=1.0, shares=routing.score_shares((1.0,) * 20), curve=CURVE, min_quality=0.95, degraded_share=0.0)
    assert dict(split.shares)["small"] > 0.35
    assert split.expected_quality >= 0.95
    assert sum(share for _, share in split.shares) == pytest.approx(1.0)


def test_an_equal_but_cheaper_variant_takes_all():
    options = (routing.Option("fp8", 1.0, 5.0), routing.Option("large", 1.0, 8.0))
    split = routing.split(options, best_quality=1.0, shares=routing.score_shares(()), curve=CURVE, min_quality=0.95, degraded_share=0.0)
    assert dict(split.shares)["fp8"] == pytest.approx(1.0)


def standing(amount: float, spent: float, *, left_h: float, allowed: Rung = Rung.CAP) -> budget.Standing:
    return budget.Standing("", allowed, amount, spent, 0.0, 86_400.0, left_h * 3600.0)


def test_a_noon_peak_is_not_the_day():
    assert budget.expected_usd(12 * 3600.0, 86_400.0, 10.0, 4.0) == pytest.approx(54.0, abs=0.01)
    assert budget.pace(standing(100.0, 40.0, left_h=12), 54.0, wanted_usd_per_h=10.0, running_usd_per_h=10.0, saving=0.5).pressure == 0.0


def test_pressure_makes_the_forecast_meet_the_amount():
    at = standing(100.0, 40.0, left_h=8, allowed=Rung.DEGRADE)
    found = budget.pace(at, 80.0, wanted_usd_per_h=10.0, running_usd_per_h=10.0, saving=0.5)
    assert found.pressure == pytest.approx(0.5)


def test_the_dearest_goes_first():
    pace = budget.Pace(standing(93.0, 0.0, left_h=4), 0.0, 1.0, 4 * 3600.0, 51.38)
    lines = [
        budget.Line("a", "large", 3, 3, 14.68, 1, cheapest=False, startup_s=60.0),
        budget.Line("a", "small", 2, 2, 3.67, 1, cheapest=True, startup_s=60.0),
    ]
    assert budget.shed(lines, pace)
    assert [line.replicas for line in lines] == [1, 2]


def test_an_amount_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"spec\.budget\.amount"):
        budget.standing(BudgetSpec(Decimal("NaN")), "", Decimal(0), 0.0)


def test_the_catalogue_of_these_tests_is_priced():
    assert money.accelerator_usd_per_h(A100, 0.0) == Decimal("3.67")


def test_the_size_reads_as_a_sentence():
    size = conditions.size_message(2, "small-int4", per_s=3.1, capacity_per_s=2.2, concurrency=16.0, waiting=0.0)
    assert size == "2 replicas of small-int4 for 3.1 req/s (capacity 2.2 each)"


def test_every_example_in_a_docstring_is_repeated_by_the_test_it_names():
    here, core = Path(__file__).parent, Path(budget.__file__).parent
    named = {found for module in core.glob("*.py") for found in re.findall(r"(test_\w+\.py)::(test_\w+)", module.read_text())}
    assert len(named) >= 10
    assert [f"{file}::{name}" for file, name in sorted(named) if f"def {name}(" not in (here / file).read_text()] == []


def test_a_share_becomes_a_threshold():
    ladder = routing.ranked((routing.Option("large", 1.0, 3.0), routing.Option("small", 0.7, 1.0)))
    assert routing.cuts_for(ladder, {"small": 0.5, "large": 0.5}, (5,) * 20) == (("small", 0.5), ("large", 0.0))


def test_pressure_lowers_the_promise():
    assert [usable.promised(95.0, pressure) for pressure in (0.0, 0.5, 1.0)] == [0.95, 0.9283, 0.9]


def test_a_burst_of_arrivals_is_learned_and_forgotten():
    trend, readings = None, [1.0, 1.1] * 40 + [1.0, 3.0] * 40 + [1.0, 1.1] * 160
    seen = []
    for index, rate in enumerate(readings):
        trend = forecast.updated(trend, rate, 15.0 * index)
        seen.append(trend.dispersion)
    assert seen[79] < 2.0
    assert seen[159] > 20.0
    assert seen[-1] < 3.0


def test_a_late_answer_in_seconds_of_a_replica():
    assert sizing.late_loss_s(Decimal("0.01"), 3.6, 2.0) == pytest.approx(10.0)
    assert sizing.late_loss_s(None, 3.6, 2.0) == 5.0
    assert sizing.late_loss_s(Decimal("NaN"), 3.6, 2.0) == sizing.late_loss_s(Decimal("0.01"), None, 2.0) == 5.0


def test_a_level_is_kept_until_the_rent_equals_a_start():
    assert levels.keep_s(3, 60.0, 40.0, ()) == 100.0


def counted(offered, useful, at_s=0.0):
    return Known(Outcomes(offered, useful), at_s)


def test_a_missed_promise_tightens():
    first = attainment.updated(None, counted(1000.0, 900.0), 0.95, settled=True)
    assert attainment.updated(first, counted(1500.0, 1350.0), 0.95, settled=True).tight == pytest.approx(0.0242, abs=1e-4)
    assert attainment.updated(first, counted(1500.0, 1350.0), 0.95, settled=False).tight == 0.0


def test_the_price_of_lateness_is_bounded_and_survives_counters_that_start_anew_or_lie():
    worst = attainment.updated(None, counted(0.0, 0.0), 0.95, settled=True)
    for index in range(1, 300):
        worst = attainment.updated(worst, counted(500.0 * index, 0.0), 0.95, settled=True)
    assert worst.tight == attainment.TIGHTEST
    assert attainment.updated(worst, counted(10.0, 10.0), 0.95, settled=True).tight == attainment.TIGHTEST
    assert attainment.updated(worst, counted(float("nan"), 0.0), 0.95, settled=True) is worst
    assert attainment.updated(worst, Unknown("NoData"), 0.95, settled=True) is worst
    assert attainment.deviations(worst) == attainment.TIGHTEST


def test_cold_bursts_make_cold_starts_dear():
    first = attainment.updated(None, counted(0.0, 0.0), 0.95, settled=False)
    cold = attainment.updated(attainment.updated(first, counted(300.0, 30.0), 0.95, settled=False), counted(600.0, 60.0), 0.95, settled=False)
    assert cold.tight == 0.0
    assert attainment.dearness(cold) == 16.0
    assert attainment.dearness(attainment.updated(first, counted(600.0, 60.0), 0.95, settled=True, able=False)) == 1.0
    kept = cold
    for step in range(1, 21):
        kept = attainment.updated(kept, counted(600.0 + 500.0 * step, 60.0 + 500.0 * step), 0.95, settled=True)
    assert attainment.dearness(kept) == 1.0
    assert attainment.dearness(attainment.updated(cold, counted(1e9, 60.0), 0.95, settled=False)) == 64.0
    assert attainment.dearness(None) == 1.0
    assert [attainment.dearness(cold, pressure) for pressure in (0.25, 0.5, 1.0)] == [8.0, 4.0, 1.0]
    for spoiled in (1e12, 1e300):
        assert attainment.dearness(replace(cold, dear=spoiled, tight=spoiled)) == 64.0
        assert attainment.deviations(replace(cold, dear=spoiled, tight=spoiled)) == attainment.TIGHTEST
        assert attainment.dearness(replace(cold, dear=-spoiled)) == 1.0


def readings(each, *, warm, days=1.0, old=None):
    """The dual after these (offered, useful) answers, spread evenly over days."""
    begin_s = 1e9 if old is None else old.at_s
    made = old or attainment.updated(None, counted(0.0, 0.0, begin_s), 0.95, settled=False)
    for index, (offered, good) in enumerate(each, start=1):
        at_s = begin_s + 86_400.0 * days * index / len(each)
        made = attainment.updated(made, counted(made.offered + offered, made.useful + good, at_s), 0.95, settled=False, warm=warm)
    return made


def test_a_model_that_is_called_now_and_then_never_makes_its_cold_starts_dear():
    assert attainment.dearness(readings([(1.0, 0.0)] * 20 * 365, warm=False, days=365.0)) == 1.0
    assert attainment.dearness(readings([(1.0, 0.0)] * 600, warm=False, days=0.5)) == 16.0


def test_a_gateway_that_is_read_again_makes_no_cold_start_dear():
    both = attainment.updated(None, counted(2e6, 1.8e6), 0.95, settled=False)
    one = attainment.updated(both, counted(1e6, 9e5), 0.95, settled=False)
    again = attainment.updated(one, counted(2e6, 1.8e6), 0.95, settled=False)
    assert [attainment.dearness(each) for each in (both, one, again)] == [1.0, 1.0, 1.0]


def test_no_start_is_dear_for_the_sake_of_a_model_that_is_broken_when_it_is_loaded():
    assert attainment.dearness(readings([(10.0, 0.0)] * 100, warm=True)) == 1.0
    shown = readings([(10.0, 0.0)] * 100, warm=True)
    assert attainment.dearness(readings([(10.0, 0.0)] * 100, warm=False, days=0.1, old=shown)) == 1.0
    blamed = readings([(10.0, 0.0)] * 100, warm=False)
    assert attainment.dearness(blamed) == 64.0
    assert attainment.dearness(readings([(10.0, 0.0)] * 40, warm=True, days=0.1, old=blamed)) == 1.0, "it was not its sleep"
    assert shown.kept < 0.1
    assert readings([(0.0, 1.0)], warm=False, days=2.0, old=shown).kept == pytest.approx(1.0 - 0.25 * (1.0 - shown.kept)), (
        "a day halves what is held against it"
    )
    mended = readings([(10.0, 10.0)] * 100, warm=True, old=shown)
    assert attainment.dearness(readings([(10.0, 0.0)] * 100, warm=False, old=mended)) > 8.0


def test_a_full_replica_tells_how_slow_it_is():
    known = {"alone_s": 5.0, "engine_s": 0.5, "prefill_s": 0.2}
    assert speed.estimate(10.2, 1.0, **known) == pytest.approx(1.0)
    assert speed.estimate(1.4 * 5.0 / (1 - 0.7) + 1.4 * 0.2, 1.0, **known) == pytest.approx(1.4)
    assert 1.0 < speed.estimate(1e6, 1.0, **known) <= 2.0


def test_load():
    assert Work(tokens=1_500.0, sequences=2).load == 2.5
    assert Work().load == 0.0
