"""What will the rest of a period cost? The shape of a week, learned from what the plan wanted in the hours that have gone by.

Linear pacing throttles every noon, and a forecast that knows no nights hoards money until it is too late to spend it. So each deployment under a
budget keeps what its plan would have cost without one, hour by hour, for the last four weeks, and reads two things from it: how the hours of a day
compare with their day's mean, and how each day of the week compares with the one before. Both are medians where there are enough of them: a day on
which demand doubled, or a price rose, changes a single ratio and not the shape. What has not been seen is flat.

The shape is relative (mean 1 over a week). What it multiplies, the level, is the mean of what is wanted now over what the shape says of now, and
follows steps within hours; a step of prices moves it at once (`funding.py`). History is kept in hours of UTC and read in the budget's own time zone,
so that a day in which clocks move keeps its shape.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from statistics import median
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jevons.core.value import value

HOUR_S = 3600.0
DAY, WEEK = 24, 168
KEEP_HOURS = 4 * WEEK
SAMPLE_S = 300.0
"""What is wanted is noted this often."""
LEAST_USD_PER_H = 1e-3
STEPS = 10.0
"""An hour's cost is kept in steps of 2^(1/10), as two hexadecimal digits."""
UNKNOWN = 255
USD_PER_H = (0.0, *[LEAST_USD_PER_H * math.pow(2.0, step / STEPS) for step in range(UNKNOWN)])
"""By code."""
WHOLE = 20
"""A day of which fewer hours are known tells nothing."""
FLAT_DAYS, FLAT_TURN, LIKE_OTHERS = 0.25, 0.25, 2.0
"""Days' worth of belief in a flat day, and in equal days; days of one weekday's worth of belief that it is like the other weekdays."""
STEP = 0.25
"""A week at whose end costs are this much from its beginning (in logarithms) had a step, and no trend."""


@value
class Season:
    """What was wanted lately: `codes` by hour, the last one the hour before `hour` (hours since the epoch), and the mean so far of `hour`."""

    hour: int = 0
    codes: str = ""
    total: float = 0.0
    samples: int = 0
    at_s: float = 0.0


UNSEEN = Season()


@dataclass(frozen=True, slots=True)
class Shape:
    """Cost of each hour of a week relative to its mean; Monday's midnight first. `days` whole days taught it."""

    hours: array[float]
    before: array[float]
    """Sums of the hours before each, the whole week last."""
    days: int

    def at(self, now: float, zone: str) -> float:
        """The hour that holds `now`."""
        return self.hours[int(_position(now, zone)) % WEEK]

    def hours_between(self, start_s: float, end_s: float, zone: str) -> float:
        """The time from start to end in mean hours: a night counts less than an afternoon."""
        first = _position(start_s, zone)
        return self._sum(first + (end_s - start_s) / HOUR_S) - self._sum(first)

    def _sum(self, position: float) -> float:
        weeks, hour = divmod(position, WEEK)
        whole = int(hour)
        return weeks * self.before[WEEK] + self.before[whole] + (hour - whole) * self.hours[whole]


FLAT = Shape(array("d", [1.0] * WEEK), array("d", range(WEEK + 1)), 0)


def noted(season: Season, wanted_usd_per_h: float, now: float) -> Season:
    """The history with what is wanted now; a reading SAMPLE_S after the last, or of a time gone by, changes nothing."""
    hour = int(now // HOUR_S)
    if hour < season.hour or (now - season.at_s < SAMPLE_S and hour == season.hour):
        return season
    if hour == season.hour:
        return Season(hour, season.codes, season.total + wanted_usd_per_h, season.samples + 1, now)
    codes = season.codes
    if season.samples:
        gone = min(KEEP_HOURS, hour - season.hour - 1)
        codes = (codes + f"{_code(season.total / season.samples):02x}" + f"{UNKNOWN:02x}" * gone)[-2 * KEEP_HOURS :]
    return Season(hour, codes, wanted_usd_per_h, 1, now)


def _code(usd_per_h: float) -> int:
    """Zero, or the step of the cost."""
    if not LEAST_USD_PER_H < usd_per_h < math.inf:
        return 0 if usd_per_h <= LEAST_USD_PER_H else UNKNOWN
    return min(UNKNOWN - 1, 1 + round(STEPS * math.log2(usd_per_h / LEAST_USD_PER_H)))


def shape(season: Season, zone: str) -> Shape:
    """The week as far as it is known; an unknown time zone is read as UTC.

    Example: three days of 1 USD/h by night and 3 by day: an hour of the day costs 1.5 of the mean, nearly: 1.46, since a quarter of a day is believed
    to be flat (test_season.py::test_nights_are_cheaper).
    """
    today = (season.hour + _offset_h(season.hour, zone)) % DAY
    codes = season.codes[: max(0, len(season.codes) - 2 * today)]
    return _shape(codes, season.hour - today, zone) if len(codes) >= 2 * WHOLE else FLAT


@lru_cache(maxsize=4096)
def _shape(codes: str, end_hour: int, zone: str) -> Shape:
    """Of the days that ended by `end_hour`, a midnight: worked out once a day."""
    days = _days(codes, end_hour, zone)
    if not days:
        return FLAT
    hours = _hours(days)
    of_day = _weekdays(days)
    week = [of_day[weekday] * hour for weekday in range(7) for hour in hours[weekday]]
    mean = sum(week) / WEEK
    relative = array("d", [hour / mean for hour in week])
    return Shape(relative, array("d", accumulate(relative, initial=0.0)), len(days))


Days = dict[int, tuple[float, list[float | None]]]
"""Whole days by number since the epoch in local time: their mean, and their hours relative to it (None = not known)."""


def _days(codes: str, end_hour: int, zone: str) -> Days:
    found: dict[int, list[float | None]] = {}
    first = end_hour - len(codes) // 2
    for index, code in enumerate(bytes.fromhex(codes)):
        if code != UNKNOWN:
            day, hour = divmod(first + index + _offset_h(first + index, zone), DAY)
            if day not in found:
                found[day] = [None] * DAY
            found[day][hour] = USD_PER_H[code]
    days: Days = {}
    for day, hours in found.items():
        known = [usd for usd in hours if usd is not None]
        mean = sum(known) / len(known)
        if len(known) >= WHOLE and mean > 0.0:
            days[day] = (mean, [None if usd is None else usd / mean for usd in hours])
    return days


def _hours(days: Days) -> list[list[float]]:
    """By weekday: its 24 hours relative to their mean."""
    groups: list[list[list[float | None]]] = [[] for _ in range(7)]
    for day, (_, hours) in days.items():
        groups[_weekday(day)].append(hours)
    rows: list[list[float]] = [[] for _ in range(7)]
    for hour in range(DAY):
        known = [[usd for hours in group if (usd := hours[hour]) is not None] for group in groups]
        common = _believed([usd for each in known for usd in each], 1.0, FLAT_DAYS)
        for row, each in zip(rows, known, strict=True):
            row.append(_believed(each, common, LIKE_OTHERS))
    return rows


def _weekdays(days: Days) -> list[float]:
    """Each weekday relative to the others, from how days followed each other; equal until every turn of the week was seen.

    What the turns of a week add up to beyond nothing is no part of its shape: it is spread over all, or, where it is much, taken from the turn that
    it explains best: there demand or a price made a step.
    """
    turns: list[list[float]] = [[] for _ in range(7)]
    for day, (mean, _) in days.items():
        if day + 1 in days:
            turns[_weekday(day)].append(math.log(days[day + 1][0] / mean))
    if not all(turns):
        return [1.0] * 7
    turned = [_middle(turn) for turn in turns]
    excess = sum(turned)
    if abs(excess) > STEP:
        at = max(range(7), key=lambda k: abs(turned[k]) - abs(turned[k] - excess))
        turned[at] -= excess
        excess = 0.0
    shrunk = [(turn - excess / 7.0) * len(seen) / (len(seen) + FLAT_TURN) for turn, seen in zip(turned, turns, strict=True)]
    return [math.exp(level) for level in accumulate(shrunk[:-1], initial=0.0)]


def _believed(seen: Sequence[float], prior: float, weight: float) -> float:
    return (median(seen) * len(seen) + prior * weight) / (len(seen) + weight) if seen else prior


def _middle(seen: Sequence[float]) -> float:
    """The median; of two that disagree the smaller: one of them was a step."""
    return min(seen, key=abs) if len(seen) == 2 and abs(seen[0] - seen[1]) > STEP else median(seen)


def _weekday(day: int) -> int:
    """Monday is 0; the epoch began on a Thursday."""
    return (day + 3) % 7


def _position(at_s: float, zone: str) -> float:
    """Hours since a Monday's midnight in local time."""
    return at_s / HOUR_S + _offset_h(int(at_s // HOUR_S), zone) + 3.0 * DAY


def _offset_h(hour: int, zone: str) -> int:
    """Of local time to UTC, in whole hours."""
    return 0 if zone == "UTC" else _offset_of_day_h(hour // DAY, zone)


@lru_cache(maxsize=4096)
def _offset_of_day_h(day: int, zone: str) -> int:
    try:
        offset = datetime.fromtimestamp((day + 0.5) * 86_400.0, UTC).astimezone(ZoneInfo(zone)).utcoffset()
    except (ZoneInfoNotFoundError, ValueError, OSError, OverflowError):
        return 0  # a budget in an unknown zone binds nobody and says so (`periods.py`)
    return round(offset.total_seconds() / HOUR_S) if offset is not None else 0
