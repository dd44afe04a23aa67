"""What the gateway's own metrics say: arrivals, outcomes and held requests per InferenceDeployment.

Sums over gateways hide one that is missing, so each pass also asks which gateways report and which are down: with one down the sums are `Partial`,
with none they are not known at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from jevons.core.observed import Known, Observed, Unknown
from jevons.core.snapshot import SCORE_BINS, ClassDemand, Held, Outcomes
from jevons.core.spec import Key
from jevons.signals import queries
from jevons.signals.samples import SeriesData, Times, latest, number

ClassKey: TypeAlias = tuple[Key, str]


def prometheus_now(gateways: Iterable[SeriesData]) -> float | None:
    """Prometheus' clock when it answered."""
    for series in gateways:
        if series.labels.get("series") == "now" and series.points:
            value = number(series.points[-1][1])
            return None if isinstance(value, Unknown) else value
    return None


def liveness(gateways: list[SeriesData] | None, times: Times) -> Observed[None]:
    """Known when every gateway was scraped lately; dated by the oldest of them."""
    if gateways is None:
        return Unknown("SourceDown", "gateways could not be asked for")
    down = [series.labels.get("instance", "") for series in gateways if series.labels.get("series") == "down"]
    if down:
        return Unknown("Partial", f"gateways not scraped: {', '.join(sorted(down)[:5])}")
    sampled = [number(series.points[-1][1]) for series in gateways if series.labels.get("series") == "fresh" and series.points]
    times_of = [value for value in sampled if not isinstance(value, Unknown)]
    if not times_of:
        return Unknown("NoData", "no gateway reports")
    oldest = min(times_of)
    if times.now_s - oldest > times.stale_after_s:
        return Unknown("Stale", f"a gateway's last sample is {times.now_s - oldest:.0f} s old")
    return Known(None, oldest + times.skew_s)


def _key(series: SeriesData) -> Key | None:
    namespace, name = series.labels.get("namespace"), series.labels.get("deployment")
    return Key(namespace, name) if namespace and name else None


def classes(rates: list[SeriesData], scores: list[SeriesData], alive: Observed[None], times: Times) -> dict[Key, tuple[ClassDemand, ...]]:
    """Demand by deployment and request class."""
    readings: dict[str, dict[ClassKey, Observed[float]]] = {}
    for series in rates:
        if (key := _key(series)) is not None:
            reading = alive if isinstance(alive, Unknown) else latest(series, times)
            readings.setdefault(series.labels.get("series", ""), {})[key, series.labels.get("class", "")] = reading
    bins = _bins(scores)
    found: dict[Key, list[ClassDemand]] = {}
    for (key, name), arrivals in readings.get(queries.ARRIVALS, {}).items():
        tokens = [_per_request(readings.get(series, {}).get((key, name)), arrivals) for series in (queries.INPUT_TOKENS, queries.OUTPUT_TOKENS)]
        found.setdefault(key, []).append(ClassDemand(name, arrivals, tokens[0], tokens[1], bins.get((key, name), ())))
    return {key: tuple(demands) for key, demands in found.items()}


def _per_request(tokens: Observed[float] | None, arrivals: Observed[float]) -> Observed[float]:
    """Mean tokens of a request."""
    if not isinstance(tokens, Known) or not isinstance(arrivals, Known) or arrivals.value <= 0 or tokens.value <= 0:
        return Unknown("NoData")
    return Known(tokens.value / arrivals.value, min(tokens.at_s, arrivals.at_s))


def _bins(scores: list[SeriesData]) -> dict[ClassKey, tuple[float, ...]]:
    """Requests per score bin; a bin that Prometheus does not report had none."""
    counted: dict[ClassKey, list[float]] = {}
    for series in scores:
        key, at = _key(series), series.labels.get("bin", "")
        value = number(series.points[-1][1]) if series.points else Unknown("NoData")
        if key is None or isinstance(value, Unknown) or not at.isdigit() or int(at) >= SCORE_BINS:
            continue
        counted.setdefault((key, series.labels.get("class", "")), [0.0] * SCORE_BINS)[int(at)] = value
    return {name: tuple(values) for name, values in counted.items()}


def outcomes(totals: list[SeriesData], alive: Observed[None], times: Times) -> dict[Key, Observed[Outcomes]]:
    """Counters by deployment. One that answered requests and has no useful answer yet has none: that counter begins with the first."""
    seen: dict[Key, dict[str, Observed[float]]] = {}
    for series in totals:
        if (key := _key(series)) is not None and series.labels.get("series") != queries.HELD:
            seen.setdefault(key, {})[series.labels.get("series", "")] = latest(series, times)
    return {key: _outcomes(readings, alive) for key, readings in seen.items() if queries.REQUESTS in readings}


def _outcomes(readings: dict[str, Observed[float]], alive: Observed[None]) -> Observed[Outcomes]:
    if isinstance(alive, Unknown):
        return alive
    for reading in readings.values():
        if isinstance(reading, Unknown):
            return reading
    values = {name: reading.value for name, reading in readings.items() if isinstance(reading, Known)}
    return Known(
        Outcomes(
            offered=values[queries.REQUESTS],
            useful=values.get(queries.USEFUL, 0.0),
            input_tokens=values.get(queries.INPUT_TOKENS, 0.0),
            output_tokens=values.get(queries.OUTPUT_TOKENS, 0.0),
        ),
        alive.at_s,
    )


def held(totals: list[SeriesData], times: Times) -> dict[Key, tuple[Held, ...]]:
    """Requests held by waiting rooms, as scraped: since when is not known, so since now."""
    found: dict[Key, list[Held]] = {}
    for series in totals:
        key = _key(series)
        value = number(series.points[-1][1]) if series.points else Unknown("NoData")
        if key is not None and series.labels.get("series") == queries.HELD and not isinstance(value, Unknown) and value >= 1:
            found.setdefault(key, []).append(Held(series.labels.get("variant", ""), int(value), times.now_s + times.skew_s))
    return {key: tuple(entries) for key, entries in found.items()}
