"""One number from a series, or why there is none.

NoData       no sample            Stale        older than two scrape intervals     NotANumber   NaN or infinite
Negative     below zero           Duplicate    the same thing reported twice       Partial      Prometheus said that its answer is not whole
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from jevons.core.observed import Known, Observed, Unknown

SCRAPE_LABELS = frozenset({"job", "instance", "endpoint", "service", "container", "prometheus", "__name__"})
"""Labels that say how a series was scraped, not what it is about: two series that differ in these alone are one thing reported twice."""


@dataclass(frozen=True, slots=True)
class Times:
    """Prometheus' clock and ours: `now_s` is the time of its answer [its clock], `skew_s` what to add to its times to get ours."""

    now_s: float
    skew_s: float
    stale_after_s: float


@dataclass(frozen=True, slots=True)
class SeriesData:
    """One series as answered: labels and (time, value as text) pairs, oldest first."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, str], ...]


def parse(result: Sequence[Any]) -> list[SeriesData]:
    """Series of a vector or matrix answer; malformed entries are left out."""
    series = []
    for entry in result:
        if not isinstance(entry, Mapping):
            continue
        labels, points = entry.get("metric"), entry.get("values") or ([entry["value"]] if entry.get("value") else [])
        try:
            series.append(SeriesData(dict(labels or {}), tuple((float(at), str(value)) for at, value in points)))
        except (TypeError, ValueError):
            continue
    return series


def number(text: str) -> float | Unknown:
    """A finite number of zero or more."""
    try:
        value = float(text)
    except ValueError:
        return Unknown("NotANumber", text[:40])
    if not math.isfinite(value):
        return Unknown("NotANumber", text)
    return Unknown("Negative", text) if value < 0 else value


def latest(series: SeriesData, times: Times) -> Observed[float]:
    """The last sample of a gauge."""
    if not series.points:
        return Unknown("NoData")
    at, text = series.points[-1]
    if times.now_s - at > times.stale_after_s:
        return Unknown("Stale", f"{times.now_s - at:.0f} s old")
    value = number(text)
    return value if isinstance(value, Unknown) else Known(value, at + times.skew_s)


def rate(series: SeriesData, times: Times) -> Observed[float]:
    """Increase per second of a counter over its samples; a drop is a reset, after which counting began at zero. Needs two samples.

    Example: 10 at t=0, 40 at t=15, 6 at t=30 (a reset) -> (30 + 6) / 30 s = 1.2 (test_samples.py::test_a_counter_reset_counts_from_zero).
    """
    last = latest(series, times)
    if isinstance(last, Unknown):
        return last
    values = [number(text) for _, text in series.points]
    bad = next((value for value in values if isinstance(value, Unknown)), None)
    if bad is not None:
        return bad
    numbers = [value for value in values if not isinstance(value, Unknown)]
    span_s = series.points[-1][0] - series.points[0][0]
    if span_s <= 0:
        return Unknown("NoData", "one sample only")
    grown = sum(after - before if after >= before else after for before, after in pairwise(numbers))
    return Known(grown / span_s, last.at_s)


def grown_at_s(series: SeriesData, times: Times) -> Observed[float]:
    """When a counter was last seen to have grown [our clock]: the time of that sample, or 0 if none did. Needs two samples; a drop is a reset.

    Example: 10 at t=0, 40 at t=15, 40 at t=30 -> 15 (test_samples.py::test_a_counter_tells_when_it_last_grew).
    """
    last = rate(series, times)
    if isinstance(last, Unknown):
        return last
    grown = [after[0] for before, after in pairwise(series.points) if float(after[1]) != float(before[1])]
    return Known(grown[-1] + times.skew_s if grown else 0.0, last.at_s)


def combine(parts: Sequence[Observed[float]], fold: Callable[[Sequence[float]], float]) -> Observed[float]:
    """Several readings as one: all of them must be known, because a part of a sum is not a sum. The oldest sample dates it."""
    if not parts:
        return Unknown("NoData")
    known = [part for part in parts if isinstance(part, Known)]
    if len(known) < len(parts):
        bad = next(part for part in parts if isinstance(part, Unknown))
        return bad if not known else Unknown("Partial", f"{len(known)} of {len(parts)} series: {bad.reason}")
    return Known(fold([part.value for part in known]), min(part.at_s for part in known))


def distinct(series: Iterable[SeriesData]) -> list[SeriesData] | Unknown:
    """The series, unless two of them are the same thing scraped twice."""
    found: dict[frozenset[tuple[str, str]], SeriesData] = {}
    for each in series:
        identity = frozenset((key, value) for key, value in each.labels.items() if key not in SCRAPE_LABELS)
        if identity in found:
            return Unknown("Duplicate", "scraped twice: " + ", ".join(sorted({found[identity].labels.get("job", ""), each.labels.get("job", "")})))
        found[identity] = each
    return list(found.values())


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean of at least one value."""
    return sum(values) / len(values)
