"""How much will arrive when a replica ordered now is ready, and how wrong may that be?

A replica ordered now serves from one startup time h on, so neither the rate now nor its peak matters but what of it is left then. Each class's rate
is split into a slow base (a mean over about twenty minutes, or ten starts) and what it is above or below that now; the part of this difference that
lasts over h is learned from the class itself, beginning at a little more than a half, and at less for starts of many minutes:

    expected(t + h) = base + persistence * (rate - base)

Levels persist (persistence near 1); bursts shorter than h do not (near 0: replicas would come after them, so a fleet is kept that bears them). What
is far above every burst of its kind is believed at once and whole. What the forecasts missed by is the scale of errors [1/s, over the base, not over
what was expected: a lull is no certainty]; a correction keeps the share of readings inside the band at COVERED whatever the errors' distribution
(adaptive conformal inference, Gibbs & Candes 2021). Beside it the arrivals' index of dispersion says how bursty they are within a reading. All of
these begin at priors and move slowly: what is learned from an hour of traffic is noisy itself, and chasing it cost a tenth to a quarter in trials.

Everything is a function of (trend, reading, time); a trend is a few dozen numbers and survives a restart.
"""

# ruff: noqa: FURB136  max and min cost eight times what a comparison does
from __future__ import annotations

import math

from jevons.core.memory import Bet, Learned, Trend
from jevons.core.within import within

FAST_TAU_S, FAST_SHARE = 60.0, 0.5
"""What counts as the rate now is a mean over this long, or this share of a start: a single reading of a minute scatters."""
READING_S = 60.0
"""A reading is the mean over this long."""
LEAST_PER_S = 1.0 / READING_S
"""One request within a reading: less is not told from it."""
BRIEF_S = 15.0
"""At the shortest; gateways report the last seconds where those say more."""
DISPERSION_TAU_S = 1200.0
UNSEEN_S = 120.0
"""For so long arrivals are taken to have been at random before anything was seen."""
OUTLIER, MAX_DISPERSION = 5.0, 200.0
BASE_TAU_S, BASE_STARTS = 1200.0, 10.0
"""The base is a mean over so long, or so many startup times where those are longer: what is to be known is the level that outlasts a start."""
MEMORABLE = 100.0
"""Persistence and errors are means over so many forecasts."""
PERSISTENCE, PERSISTENCE_SD = 0.6, 0.3
"""What is thought of persistence before anything was seen, and how firmly (standard deviation)."""
KNOWN_AHEAD_S, HALVED_S = 120.0, 60.0
"""Beyond so far ahead it is thought to halve with every so much more: what is above a mean over ten starts then seldom outlasts one."""
YOUNG_S, YOUNG_SHARE = 600.0, 0.1
"""A mean over less than this is no base: traffic that has just begun is believed as it comes, its rate a mean over this part of its age."""
PRIOR = 8.0
"""Forecasts' worth of belief in the error's scale before one was checked."""
UNCHECKED, JUST_BEGUN = 0.25, 12.0
"""That scale: standard deviation of a rate one startup time ahead, as a part of the base; beside it the randomness of arrivals,
which counts so many times more for traffic that has just begun."""
CALM, CALM_S, LONGEST_CALM_S = 0.15, 120.0, 300.0
"""A rate CALM_S ahead is never surer than to this part (standard deviation): half an hour without a surprise says little of the next one. It grows
with the square root of the time ahead, up to LONGEST_CALM_S."""
UNHEARD = 5.0
"""A rate so many deviations of forecasts above the base is no burst of the usual kind: what is beyond is believed at once."""
PENDING = 4
"""Forecasts under way at a time."""
SIZED = 3000.0
SHORTEST_S, LONGEST_S = 30.0, 900.0
COVERED = 0.9
BAND = 1.2816
"""Standard deviations of COVERED for a normal distribution."""
STEP = 0.05
"""How far one forecast moves the correction."""
WIDTHS = (0.7, 1.5)
QUIET_PER_S = 1e-4
"""Below this rate the trend is at rest, so that a silent deployment's memory does not change."""


def updated(trend: Trend | None, rate_per_s: float, now: float, horizon_s: float = 60.0, tokens: tuple[float, float] | None = None) -> Trend:
    """The trend after a reading of `rate_per_s` at `now`; a reading of the same second changes nothing, and one that is older sets its clock back.

    horizon_s: how long a replica takes to start. tokens: mean input and output of the requests in the reading; None = not known.
    """
    if trend is None:
        return Trend(rate_per_s, now, rate_per_s, base=rate_per_s, since_s=now, tokens=tokens)
    dt_s = now - trend.at_s
    if dt_s < 1.0:
        return trend if dt_s > -1.0 else _set_back(trend, now)
    before = trend.level if trend.base is None else trend.base
    if rate_per_s < QUIET_PER_S and max(trend.level, before) < QUIET_PER_S:
        at_rest = trend.level == 0.0 and trend.base == 0.0
        return trend if at_rest else Trend(0.0, now, 0.0, trend.dispersion, 0.0, trend.learned, (), trend.since_s, trend.tokens)
    horizon_s = within(SHORTEST_S, horizon_s, LONGEST_S)
    age_s = now - (trend.at_s if trend.since_s is None else trend.since_s)
    slowly, young = -math.expm1(-dt_s / max(BASE_TAU_S, BASE_STARTS * horizon_s)), (2.0 - _grown(trend)) * dt_s / (dt_s + age_s)
    base = before + within(slowly, young, 1.0) * (rate_per_s - before)
    level = trend.level - math.expm1(-dt_s / min(FAST_TAU_S, FAST_SHARE * horizon_s, YOUNG_SHARE * age_s + 1.0)) * (rate_per_s - trend.level)
    if rate_per_s > level and rate_per_s > before + _usual(trend, before):
        level = rate_per_s
    dispersion = _dispersion(trend, rate_per_s, dt_s)
    learned, pending = trend.learned, trend.pending
    if pending and pending[0].due_s <= now:
        learned, pending = _matured(learned, pending, rate_per_s, dispersion, now)
    sizes = trend.tokens if tokens == trend.tokens else _sizes(trend.tokens, tokens, rate_per_s * dt_s, before * (age_s - dt_s))
    since_s = now - age_s
    new = Trend(level, now, rate_per_s, dispersion, base, learned, pending, since_s, sizes, horizon_s)
    due_s = now + horizon_s + READING_S / 2.0  # that reading's middle lies one startup time ahead, and it shares no arrival with this one
    if not pending or due_s - pending[-1].due_s >= horizon_s / PENDING:
        expected = ahead(new)
        bet = Bet(due_s, level - base, base, expected, BAND * _error(new))
        new = Trend(level, now, rate_per_s, dispersion, base, learned, (*pending, bet), since_s, sizes, horizon_s)
    return new


def _set_back(trend: Trend, now: float) -> Trend:
    """The trend by a clock that went back to `now`, or by that of the next leader's node: waiting until it catches up would be deciding on old rates.

    Bets under way are forgotten: what they were on is at no known time.
    """
    since_s = None if trend.since_s is None else trend.since_s - (trend.at_s - now)
    return Trend(trend.level, now, trend.rate, trend.dispersion, trend.base, trend.learned, (), since_s, trend.tokens, trend.horizon_s)


def _sizes(known: tuple[float, float] | None, seen: tuple[float, float] | None, requests: float, earlier: float) -> tuple[float, float] | None:
    """Mean tokens over the last SIZED requests or so: over a minute of little traffic they scatter more than they drift.

    earlier: requests before these; while they are few the mean is over all there were, so that the very first do not count for SIZED.
    """
    if known is None or seen is None:
        return seen if known is None else known
    weight = max(-math.expm1(-requests / SIZED), requests / (requests + earlier) if requests > 0.0 else 0.0)
    return known[0] + weight * (seen[0] - known[0]), known[1] + weight * (seen[1] - known[1])


def _dispersion(trend: Trend, rate_per_s: float, dt_s: float) -> float:
    """The arrivals' index of dispersion after one more reading, from the squares of what readings differ by.

    Two means over READING_S that are dt apart share all but dt of it, so at random their difference has variance 2 rate dt / READING_S^2; what was
    seen over that is the index. One square is a wild estimate: it is bounded and averaged over many.
    """
    if trend.rate is None or dt_s > READING_S:
        return trend.dispersion
    mean, most = (rate_per_s + trend.rate) / 2.0, OUTLIER * trend.dispersion + OUTLIER
    mean = mean if mean > LEAST_PER_S else LEAST_PER_S
    seen = (rate_per_s - trend.rate) ** 2 * READING_S * READING_S / (2.0 * dt_s * mean)
    seen = seen if seen < most else most
    age_s = trend.at_s - (trend.at_s if trend.since_s is None else trend.since_s)
    weight = max(-math.expm1(-dt_s / DISPERSION_TAU_S), dt_s / (dt_s + age_s + UNSEEN_S))
    return within(1.0, trend.dispersion + weight * (seen - trend.dispersion), MAX_DISPERSION)


def _matured(learned: Learned, pending: tuple[Bet, ...], rate_per_s: float, dispersion: float, now: float) -> tuple[Learned, tuple[Bet, ...]]:
    """What the bets that are due teach, and those that are not."""
    for bet in pending:
        if bet.due_s > now:
            break
        if now - bet.due_s > READING_S:
            continue  # nobody looked when it was due
        bets = min(MEMORABLE, learned.bets + 1.0)
        weight, scale = 1.0 / bets, 1.0 / max(bet.base, 1.0 / READING_S)
        miss = rate_per_s - bet.expected
        inside = miss <= bet.band
        width = learned.width * math.exp(STEP * ((0.0 if inside else 1.0) - (1.0 - COVERED)))
        quantile_miss = miss - bet.band
        learned = Learned(
            bets,
            learned.lasting + weight * (bet.above * (rate_per_s - bet.base) * scale - learned.lasting),
            learned.square + weight * (bet.above * bet.above * scale - learned.square),
            learned.error + weight * (min(miss * miss * scale, OUTLIER * (learned.error + dispersion / READING_S)) - learned.error),
            min(WIDTHS[1], max(WIDTHS[0], width)),
            learned.covered + weight * ((1.0 if inside else 0.0) - learned.covered),
            learned.pinball + weight * (max(COVERED * quantile_miss, (COVERED - 1.0) * quantile_miss) - learned.pinball),
        )
    return learned, tuple([bet for bet in pending if bet.due_s > now])


def persistence(trend: Trend) -> float:
    """The part (0..1) of a difference from the base that is still there one startup time later.

    A regression through the origin that begins at PERSISTENCE, or nearer 1 while there is hardly a base: differences far beyond what forecasts miss
    by anyway teach at once, small ones little. Bets overlap, so PENDING of them count for one.
    """
    learned = trend.learned
    error, random = learned.error, trend.dispersion / READING_S
    firm = (error if error > random else random) / (PERSISTENCE_SD * PERSISTENCE_SD)
    bets = learned.bets / PENDING
    beyond_s = trend.horizon_s - KNOWN_AHEAD_S
    lasting = PERSISTENCE * math.exp2(-beyond_s / HALVED_S) if beyond_s > 0.0 else PERSISTENCE
    prior = 1.0 - (1.0 - lasting) * _grown(trend)
    return within(0.0, (bets * learned.lasting + prior * firm) / (bets * learned.square + firm), 1.0)


def _grown(trend: Trend) -> float:
    """0 for traffic that has just begun, 1 from YOUNG_S on."""
    if trend.since_s is None:
        return 0.0
    age_s = trend.at_s - trend.since_s
    return age_s / YOUNG_S if age_s < YOUNG_S else 1.0


def ahead(trend: Trend) -> float:
    """The rate [1/s] expected when a replica ordered now is ready (persistence is learned at that horizon).

    Example: a base of 2.0/s over the last ten minutes, 3.0/s now and nothing learned yet -> 2 + 0.6 * 1 = 2.6
    (test_worked_examples.py::test_the_forecast_believes_a_part_of_what_is_above_the_base).
    """
    if trend.base is None:
        return trend.level
    above = trend.level - trend.base
    usual = _usual(trend, trend.base)
    usual = usual if usual < above else above
    expected = trend.base + persistence(trend) * usual + above - usual
    return expected if expected > 0.0 else 0.0


def _usual(trend: Trend, base: float) -> float:
    """How far above the base [1/s] a rate may be and still be a burst of the kind that this class has."""
    base = base if base > LEAST_PER_S else LEAST_PER_S
    missed, random = _missed(trend, base), trend.dispersion / BRIEF_S
    return UNHEARD * math.sqrt((missed if missed > random else random) * base)


def _missed(trend: Trend, base: float) -> float:
    """Mean square of what forecasts miss by, over the base; the less was checked, the more it is what is thought of such traffic."""
    learned = trend.learned
    unchecked = UNCHECKED * UNCHECKED * base + (1.0 + JUST_BEGUN * (1.0 - _grown(trend))) * trend.dispersion / READING_S
    return (learned.bets * learned.error + PRIOR * unchecked) / (learned.bets + PRIOR)


def _error(trend: Trend) -> float:
    """Standard deviation [1/s] of a reading one startup time ahead from what was expected."""
    base = trend.level if trend.base is None else trend.base
    base = base if base > LEAST_PER_S else LEAST_PER_S
    return trend.learned.width * math.sqrt(_missed(trend, base) * base)


def doubt(trend: Trend, expected: float) -> float:
    """Relative variance of the rate ahead, beyond the randomness of arrivals within a reading (which `usable.py` counts).

    Example: no forecast has ever missed, starts of 120 s -> 0.15^2 = 0.0225
    (test_worked_examples.py::test_a_calm_half_hour_does_not_make_the_next_one_sure).
    """
    expected = max(expected, 1.0 / READING_S)
    error = _error(trend)
    seen = max(0.0, error * error / expected - trend.dispersion / READING_S) / expected
    if trend.learned.bets > MEMORABLE:
        return seen  # nobody can have seen so many: somebody knows what comes
    return max(seen, CALM * CALM * min(trend.horizon_s, LONGEST_CALM_S) / CALM_S)
