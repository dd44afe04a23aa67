"""When does a budget's period begin and end? Hours, days, weeks and months in the budget's own time zone.

A day in which clocks go forward has 23 hours, one in which they go back has 25; a month has what it has. Everything is a function of (period, zone,
now); `zoneinfo` reads the time zone database, which is data. Bounds are computed once per 15 minutes: no zone has an offset finer than that today.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jevons.core.spec import Period

BUCKET_S = 900
"""Spend is summed in buckets this long, aligned to the epoch; period bounds are aligned to them."""


class UnknownTimeZoneError(ValueError):
    """The time zone database has no such zone."""


def bounds(period: Period, time_zone: str, at_s: float) -> tuple[float, float]:
    """Start (inclusive) and end (exclusive) of the period that holds `at_s`, as seconds since the epoch.

    Raises UnknownTimeZoneError. Example: the day of 2026-03-29 in Europe/Paris lasts 23 hours
    (test_worked_examples.py::test_a_day_with_23_hours_and_one_with_25).
    """
    return _bounds(period, time_zone, int(at_s // BUCKET_S))


@lru_cache(maxsize=4096)
def _bounds(period: Period, time_zone: str, bucket: int) -> tuple[float, float]:
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnknownTimeZoneError(
            f"spec.budget.timeZone: no zone named {time_zone!r}; use a name of the IANA database such as Europe/Paris"
        ) from error
    at_s = bucket * BUCKET_S
    local = datetime.fromtimestamp(at_s, zone)
    if period is Period.HOUR:
        start_s = float(at_s - (local.minute * 60 + local.second))
        return start_s, start_s + 3600.0
    day = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0, tzinfo=None)
    if period is Period.DAY:
        first, last = day, day + timedelta(days=1)
    elif period is Period.WEEK:
        first = day - timedelta(days=day.weekday())
        last = first + timedelta(days=7)
    else:
        first = day.replace(day=1)
        last = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return _epoch(first, zone), _epoch(last, zone)


def _epoch(wall: datetime, zone: ZoneInfo) -> float:
    """The second at which the zone's clocks first show that wall time (or jump over it)."""
    return wall.replace(tzinfo=zone).astimezone(UTC).timestamp()
