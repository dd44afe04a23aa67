"""How much will arrive when a replica ordered now is ready?

Double exponential smoothing (Holt) for unevenly spaced readings, with a damped trend: level and slope of each class's arrival rate, looked at over
the startup time. Readings are means over the last minute already, so a step in traffic looks like a one-minute ramp; growth is therefore bounded to
half of the present rate. A burst (far above the level) is believed at once: being late costs more than being wrong once.
"""

from __future__ import annotations

import math

from jevons.core.memory import Trend

LEVEL_TAU_S = 15.0
SLOPE_TAU_S = 120.0
DAMPING_S = 180.0
"""The slope is expected to die away with this time constant."""
MAX_GROWTH = 0.5
BURST_FACTOR = 1.5
READING_S = 60.0
"""A reading is the mean over this long."""
DISPERSION_TAU_S = 600.0
OUTLIER, MAX_DISPERSION = 10.0, 200.0
QUIET_PER_S = 1e-4
"""Below this rate the trend is at rest, so that a silent deployment's memory does not change."""


def updated(trend: Trend | None, rate_per_s: float, now: float) -> Trend:
    """The trend after a reading of `rate_per_s` at `now`; a reading of the same second or older changes nothing."""
    if trend is None:
        return Trend(rate_per_s, 0.0, now, rate_per_s)
    dt_s = now - trend.at_s
    if dt_s < 1.0:
        return trend
    if rate_per_s < QUIET_PER_S and trend.level < QUIET_PER_S:
        return trend if trend.level == 0.0 and trend.slope == 0.0 else Trend(0.0, 0.0, now, 0.0, trend.dispersion)
    dispersion = _dispersion(trend, rate_per_s, dt_s)
    if rate_per_s > BURST_FACTOR * trend.level:
        return Trend(rate_per_s, trend.slope, now, rate_per_s, dispersion)
    weight = -math.expm1(-dt_s / LEVEL_TAU_S)
    expected = trend.level + trend.slope * DAMPING_S * -math.expm1(-dt_s / DAMPING_S)
    level = max(0.0, weight * rate_per_s + (1.0 - weight) * expected)
    weight = -math.expm1(-dt_s / SLOPE_TAU_S)
    slope = weight * (level - trend.level) / dt_s + (1.0 - weight) * trend.slope
    return Trend(level, slope, now, rate_per_s, dispersion)


def _dispersion(trend: Trend, rate_per_s: float, dt_s: float) -> float:
    """The arrivals' index of dispersion after one more reading, from the squares of what readings differ by.

    Two means over READING_S that are dt apart share all but dt of it, so at random their difference has variance 2 rate dt / READING_S^2; what was
    seen over that is the index. One square is a wild estimate: it is bounded and averaged over many.
    """
    if trend.rate is None or dt_s > READING_S:
        return trend.dispersion
    mean = max((rate_per_s + trend.rate) / 2.0, 1.0 / READING_S)
    seen = (rate_per_s - trend.rate) ** 2 * READING_S * READING_S / (2.0 * dt_s * mean)
    seen = min(seen, OUTLIER * trend.dispersion + OUTLIER)
    weight = -math.expm1(-dt_s / DISPERSION_TAU_S)
    return min(MAX_DISPERSION, max(1.0, trend.dispersion + weight * (seen - trend.dispersion)))


def ahead(trend: Trend, horizon_s: float) -> float:
    """The rate [1/s] expected in `horizon_s` seconds: the highest on the way there, never below the present level nor above 1.5 times it.

    Example: level 2.0/s rising by 0.01/s per s, 60 s ahead -> 2 + 0.01 * 180 * (1 - exp(-60/180)) = 2.51
    (test_worked_examples.py::test_the_forecast_looks_at_the_startup_time).
    """
    if trend.slope <= 0.0:
        return trend.level
    growth = trend.slope * DAMPING_S * -math.expm1(-horizon_s / DAMPING_S)
    return trend.level + min(growth, MAX_GROWTH * trend.level)
