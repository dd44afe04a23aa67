"""The shape of a week is learned from whole days, in local time, and a single step in demand or price does not bend it."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from core_worlds import A100, KEY, SMALL, demand, deployment, pod, state, variant_state, world

from jevons.core import season
from jevons.core.decide import decide
from jevons.core.memory import Memory
from jevons.core.observed import Known
from jevons.core.spec import BudgetSpec, Period, Price

MONDAY = datetime(2026, 11, 2, tzinfo=ZoneInfo("UTC")).timestamp()
DAY_S = 86_400.0


def lived(cost, days, *, start_s=MONDAY, step_s=300.0):
    """The season after `days` of what `cost(local hours since a Monday)` wanted."""
    made = season.UNSEEN
    for at in range(int(days * DAY_S / step_s) + 1):
        made = season.noted(made, cost(at * step_s / 3600.0), start_s + at * step_s)
    return made


def day_and_night(hour):
    return 1.0 if hour % 24 < 12 else 3.0


def working_week(hour):
    return day_and_night(hour) * (1.0 if hour % 168 < 120 else 0.5)


def test_nights_are_cheaper():
    shape = season.shape(lived(day_and_night, 3.0), "UTC")
    assert shape.days == 3
    assert shape.at(MONDAY + 13 * 3600.0, "UTC") == pytest.approx(1.46, abs=0.02)
    assert shape.at(MONDAY + 3600.0, "UTC") == pytest.approx(0.54, abs=0.02)


def test_what_has_not_been_seen_is_flat():
    for seen in (season.UNSEEN, lived(day_and_night, 0.7), lived(lambda _: 0.0, 5.0)):
        assert season.shape(seen, "UTC") is season.FLAT
    assert season.FLAT.hours_between(MONDAY, MONDAY + 5.5 * 3600.0, "Europe/Paris") == pytest.approx(5.5)


def test_weekends_are_known_after_a_week():
    week, start_s = season.shape(lived(working_week, 14.0), "UTC"), MONDAY + 14 * DAY_S
    days = [week.hours_between(start_s + day * DAY_S, start_s + (day + 1) * DAY_S, "UTC") for day in range(7)]
    assert sum(days) == pytest.approx(168.0)
    assert days[2] == pytest.approx(days[3], rel=0.05)
    assert days[5] / days[3] == pytest.approx(0.5, rel=0.15)


def test_a_step_bends_the_shape_of_no_week():
    def doubled(hour):
        return working_week(hour) * (2.9 if hour >= 17 * 24 + 12 else 1.0)

    before, after = season.shape(lived(working_week, 17.0), "UTC"), season.shape(lived(doubled, 21.0), "UTC")
    assert max(abs(a - b) for a, b in zip(before.hours, after.hours, strict=True)) < 0.12


def test_the_time_zones_midnight_counts_and_a_day_in_which_clocks_move_keeps_its_shape():
    paris = ZoneInfo("Europe/Paris")
    start = datetime(2026, 10, 12, tzinfo=paris)
    made = season.UNSEEN
    for at in range(int(28 * DAY_S / 300.0)):
        now = start.timestamp() + at * 300.0
        made = season.noted(made, day_and_night(datetime.fromtimestamp(now, paris).hour), now)
    shape = season.shape(made, "Europe/Paris")
    summer, winter = datetime(2026, 10, 20, 12, 30, tzinfo=paris).timestamp(), datetime(2026, 11, 10, 12, 30, tzinfo=paris).timestamp()
    assert shape.at(summer, "Europe/Paris") == pytest.approx(1.5, abs=0.05)
    assert shape.at(winter, "Europe/Paris") == pytest.approx(1.5, abs=0.05)
    assert shape.at(winter - 3600.0, "Europe/Paris") == pytest.approx(0.5, abs=0.05)


def test_history_is_bounded_and_hours_that_nobody_saw_are_unknown():
    made = lived(day_and_night, 60.0, step_s=1800.0)
    assert len(made.codes) == 2 * season.KEEP_HOURS
    gone = season.noted(made, 1.0, made.at_s + 10 * 3600.0)
    assert gone.codes.endswith("ff" * 9)
    assert len(gone.codes) == 2 * season.KEEP_HOURS
    assert season.noted(gone, 9.0, made.at_s) is gone, "a clock that went back notes nothing"
    assert season.shape(season.noted(made, 1.0, made.at_s + 1e9), "UTC") is season.FLAT


@pytest.mark.parametrize("cost", [0.0, 1e-9, 0.02, 3.67, 1e4, 1e30, math.inf, math.nan])
def test_any_cost_is_kept_as_two_digits_within_four_percent_or_not_at_all(cost):
    code = season._code(cost)
    assert 0 <= code <= season.UNKNOWN
    if 0.01 < cost < 3e4:
        assert season.LEAST_USD_PER_H * 2.0 ** ((code - 1) / season.STEPS) == pytest.approx(cost, rel=0.04)


def served(now, rate, memory, *, amount="100000", zone="UTC", accelerators=None):
    """One pass over a deployment whose fleet fits."""
    spec = deployment(replace(SMALL, max_replicas=40), budget=BudgetSpec(Decimal(amount), Period.WEEK, zone))
    replicas = max(1, round(rate / 4.0))
    pods = [pod(f"s{at}", now, running=rate / replicas * 3.0, util=0.5) for at in range(replicas)]
    made = world(
        state(spec, {"small": variant_state(*pods)}, demand=(demand(rate, now),), last_arrival_at_s=now),
        now=now,
        memory=memory,
        metrics=Known(None, now),
    )
    return decide(replace(made, **({"accelerators": accelerators} if accelerators else {})), now)


def two_weeks(rate_at):
    memory = Memory()
    for hour in range(14 * 24 * 2 + 1):
        now = MONDAY + hour * 1800.0
        memory = served(now, rate_at(hour / 2.0), memory).memory
    return memory


def test_a_budget_expects_the_weekend_and_survives_a_restart_with_it():
    memory = two_weeks(lambda hour: 40.0 * working_week(hour) / 3.0)
    memory = Memory.from_json({KEY: memory.to_json(KEY)})
    friday = MONDAY + 18 * DAY_S + 22 * 3600.0
    kept = replace(memory.deployments[KEY], wanted_at_s=friday)
    made = served(friday, 40.0, Memory({KEY: kept})).deployments[KEY]
    cost = made.cost
    assert any(name == "season[spec.budget]" and "14 whole days known" in text for name, text, _ in made.explanation.inputs)
    rest = float(cost.period_forecast_usd - cost.period_spend_usd)
    flat = served(friday, 40.0, Memory({KEY: replace(kept, season=season.UNSEEN)})).deployments[KEY].cost
    assert rest < 0.8 * float(flat.period_forecast_usd - flat.period_spend_usd)


def test_a_price_that_is_known_to_rise_is_expected_to_and_moves_the_level_at_once():
    memory = two_weeks(lambda _: 20.0)
    now = MONDAY + 14 * DAY_S + 1800.0
    rising = replace(A100, prices=(*A100.prices, Price(now + 3.5 * DAY_S, Decimal("7.34"))))
    plain, known = served(now, 20.0, memory), served(now, 20.0, memory, accelerators={"a100": rising})
    before, after = (float(each.deployments[KEY].cost.period_forecast_usd) for each in (plain, known))
    assert after / before == pytest.approx(1.5, abs=0.03)
    stepped = replace(A100, prices=(*A100.prices, Price(now + 60.0, Decimal("7.34"))))
    later = served(now + 120.0, 20.0, plain.memory, accelerators={"a100": stepped})
    assert later.memory.deployments[KEY].wanted_usd_per_h == pytest.approx(2.0 * plain.memory.deployments[KEY].wanted_usd_per_h, rel=0.01)


def test_a_model_without_a_budget_keeps_no_season():
    spec = deployment(SMALL)
    decision = decide(world(state(spec, {"small": variant_state(pod("a"))}, demand=(demand(1.0),))), MONDAY)
    assert decision.memory.deployments[KEY].season == season.UNSEEN


def test_an_unknown_time_zone_is_said_by_the_budget_and_breaks_no_season():
    assert season.shape(lived(day_and_night, 2.0), "Mars/Olympus") == season.shape(lived(day_and_night, 2.0), "UTC")
    memory = two_weeks(lambda _: 20.0)
    decision = served(MONDAY + 15 * DAY_S, 20.0, memory, zone="Mars/Olympus").deployments[KEY]
    assert (decision.reason, decision.replicas[0].desired) == ("InternalError", None)
