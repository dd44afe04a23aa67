"""The forecast: what lasts is believed at once, what comes and goes is not; its band covers what it says."""

from __future__ import annotations

import random

import pytest

from jevons.core import forecast
from jevons.core.memory import Trend


def followed(rates, horizon_s=120.0, tokens=None):
    """The trend after these readings, one every 15 s."""
    trend = None
    for index, rate in enumerate(rates):
        trend = forecast.updated(trend, rate, 15.0 * index, horizon_s, tokens)
    return trend


def test_a_step_is_believed_in_the_pass_that_sees_it():
    assert forecast.ahead(followed([2.0] * 40 + [8.0])) > 6.5


def test_levels_that_last_keep_being_believed():
    rates = ([2.0] * 80 + [8.0] * 80) * 4
    trend = followed([*rates, 2.0, 8.0])
    assert forecast.persistence(trend) > 0.7
    assert forecast.ahead(trend) > 6.0


def test_bursts_shorter_than_a_start_are_not_chased():
    chance = random.Random(1)
    rates = [rate for _ in range(40) for rate in [0.5] * chance.randint(3, 14) + [16.0] * 2]
    trend = followed([*rates, 16.0])
    assert forecast.persistence(trend) < 0.5
    assert 2.0 < forecast.ahead(trend) < 8.0
    assert forecast.doubt(trend, forecast.ahead(trend)) > 0.0


def test_a_ramp_is_followed():
    rates = [1.0 + 0.02 * index for index in range(120)]
    assert forecast.ahead(followed(rates)) == pytest.approx(rates[-1], rel=0.1)


def test_what_bursts_leave_is_expected_in_the_quiet_between_them():
    rates = ([0.0] * 8 + [16.0] * 2) * 40
    assert forecast.ahead(followed([*rates, 0.0])) > 2.0


@pytest.mark.parametrize("seed", range(3))
def test_the_band_covers_what_it_says(seed):
    chance = random.Random(seed)
    rate, rates = 6.0, []
    for _ in range(3000):
        rate = max(1.0, 6.0 + 0.97 * (rate - 6.0) + chance.gauss(0.0, 0.4))
        rates.append(rate)
    learned = followed(rates).learned
    assert learned.covered == pytest.approx(forecast.COVERED, abs=0.08)
    assert 0.0 < learned.pinball < 1.0


def test_a_reading_nobody_took_teaches_nothing():
    trend = followed([4.0] * 40)
    late = forecast.updated(trend, 40.0, 15.0 * 39 + 4000.0, 120.0)
    assert late.learned == trend.learned


def test_sizes_of_requests_outlive_a_minute_without_any():
    trend = followed([4.0] * 40, tokens=(1000.0, 20.0))
    for index in range(8):
        trend = forecast.updated(trend, 0.0, 15.0 * (40 + index), 120.0, None)
    assert trend.tokens == (1000.0, 20.0)


def test_a_class_at_rest_does_not_change():
    trend = followed([1.0] * 10 + [0.0] * 1500)
    assert forecast.updated(trend, 0.0, trend.at_s + 15.0, 120.0) is trend
    assert forecast.ahead(trend) == 0.0


def test_a_trend_of_an_old_checkpoint_goes_on():
    trend = Trend(2.0, 0.0)
    assert forecast.ahead(trend) == 2.0
    assert forecast.ahead(forecast.updated(trend, 2.0, 15.0)) == pytest.approx(2.0)


def test_what_is_above_the_base_is_thought_to_be_gone_when_a_start_of_five_minutes_is_over() -> None:
    prompt, slow = Trend(3.0, 600.0, base=2.0, since_s=0.0, horizon_s=120.0), Trend(3.0, 600.0, base=2.0, since_s=0.0, horizon_s=300.0)
    assert forecast.persistence(prompt) == pytest.approx(0.6)
    assert forecast.persistence(slow) == pytest.approx(0.6 / 8.0)


def test_the_base_of_a_slow_starter_is_a_longer_mean() -> None:
    rates = [2.0] * 200 + [4.0] * 40
    prompt, slow = followed(rates, horizon_s=60.0), followed(rates, horizon_s=300.0)
    assert 2.0 < slow.base < prompt.base < 4.0
