"""A month of demand in steps of five minutes, and what replicas make of it: coarse, so that a month of decisions takes seconds instead of days.

What is kept: the season, the chance of counts (Poisson, and each day busier or calmer as a whole), whole replicas, start-up time, prices, and the
share of answers inside the objectives at a load (`core.usable`, which the token-level engine was fitted to). What is given up: requests are not
followed one by one. In a step all arrivals of a variant meet the same mean load, scattered as that many random arrivals scatter; nothing waits from
one step to the next; what is above the load at which most answers are in time is refused, as a gateway does that bounds what is under way. The law
is the same for all who compete.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

import numpy as np

from jevons.core import capacity
from jevons.core.snapshot import SCORE_BINS, RouterCurve
from jevons.core.spec import Period, Profile
from jevons.core.usable import GRID
from jevons.simulator.protocol.zoo_workload import PROFILE as SMALL
from jevons.simulator.scenario import Floats
from jevons.simulator.traces import Trace
from jevons.simulator.traces_clients import WINDOW_S, ClientModel

STEP_S = 300.0
STARTUP_S = 120.0
INPUT_TOKENS, OUTPUT_TOKENS = 1155.0, 211.0
"""Means of the Azure conversation log."""
ITL_S, TTFT_S = 0.060, 2.0
MEAN_RPS = 10.0
"""Before the demand doubles: about ten replicas' worth."""
DAY_SIGMA = 0.10
DEMAND_STEP, PRICE_STEP = 2.0, 1.48
BEGINS_S = {
    Period.DAY: datetime(2026, 11, 2, tzinfo=UTC).timestamp(),
    Period.WEEK: datetime(2026, 11, 2, tzinfo=UTC).timestamp(),
    Period.MONTH: datetime(2026, 11, 1, tzinfo=UTC).timestamp(),
}
"""The budget's periods begin there too: a Monday, and a month of thirty days."""
MOST = 60
"""Replicas of a variant, at most."""
SCATTER = (-1.2816, -0.5244, 0.0, 0.5244, 1.2816)


LARGE = Profile(0.028269, 0.0001517, 0.00005662, 0.02069, 0.151782, 0.0016515, 458_846)
"""Llama-3.1-70B BF16 on four A100 under vLLM (data/perf/seed_profiles.csv)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A variant: what one replica is and costs [USD/h, before the price step]."""

    name: str
    profile: Profile
    accelerators: int
    usd_per_gpu_h: float
    quality: float

    @property
    def usd_per_h(self) -> float:
        """Of a replica."""
        return self.accelerators * self.usd_per_gpu_h

    @property
    def one(self) -> capacity.Capacity:
        """Its capacity inside the objectives."""
        return capacity.served(self.profile, round(INPUT_TOKENS), round(OUTPUT_TOKENS), ITL_S, TTFT_S)


@lru_cache(maxsize=1)
def kinds() -> tuple[Kind, Kind]:
    """The best variant and the cheap one."""
    return Kind("large", LARGE, 4, 3.673, 1.0), Kind("small", SMALL, 1, 3.673, 0.7)


@dataclass(frozen=True)
class Month:
    """The period: per step what came [1/s], and the price as a multiple of the first one; and what a request's score says (`router`)."""

    period: Period
    router: RouterCurve
    arrived: Floats
    price: Floats
    source: str
    past: Floats = field(default_factory=lambda: np.zeros(0))
    """What came in the steps before the period, at the first price: whoever learns from it has."""

    @property
    def steps(self) -> int:
        """Of `STEP_S`."""
        return len(self.arrived)

    @property
    def begin_s(self) -> float:
        """Seconds since the epoch."""
        return BEGINS_S[self.period]

    @property
    def end_s(self) -> float:
        """Seconds since the epoch."""
        return self.begin_s + self.steps * STEP_S


def season_of(traces: Mapping[str, Trace] | None) -> tuple[Floats, str]:
    """Rates of a few days in steps, mean 1, and where they come from: days 1 to 3 of a client model's total, else a synthetic week.

    The synthetic week: 1 + 0.6 sin with its peak at 14:00, weekends at 0.6 of it.
    """
    models = [trace for trace in (traces or {}).values() if isinstance(trace, ClientModel)]
    if models:
        model = min(models, key=lambda one: abs(len(one.clients) - 100))
        windows = min(model.rate.shape[1], round(3 * 86_400.0 / WINDOW_S))
        rate, known = model.rate[:, :windows].sum(axis=0), model.recorded[:windows]
        every = np.interp(np.arange(windows), np.flatnonzero(known), rate[known])
        return np.repeat(every / every.mean(), round(WINDOW_S / STEP_S)), f"{model.name}, days 1-3 repeated"
    at_h = np.arange(7 * 24 * 12) / 12.0
    wave = 1.0 + 0.6 * np.sin((at_h % 24.0 - 8.0) / 24.0 * 2.0 * math.pi)
    wave *= np.where(at_h >= 5 * 24.0, 0.6, 1.0)
    return wave / wave.mean(), "synthetic week"


def month(season: tuple[Floats, str], router: RouterCurve, *, seed: int, period: Period = Period.MONTH, past_days: int = 0) -> Month:
    """The period with its two steps in the middle: demand doubles, and every price rises by 48 %. Before it came `past_days` without a step."""
    days = {Period.DAY: 1, Period.WEEK: 7, Period.MONTH: 30}[period]
    steps = round(days * 86_400.0 / STEP_S)
    later = np.arange(steps) >= steps // 2
    arrived = _arrivals(np.resize(season[0], steps) * np.where(later, DEMAND_STEP, 1.0), np.random.default_rng([seed, 8]))
    past_steps = round(past_days * 86_400.0 / STEP_S)
    past = _arrivals(season_before(season[0], past_steps), np.random.default_rng([seed, 9]))
    return Month(period, router, arrived, np.where(later, PRICE_STEP, 1.0), season[1], past)


def season_before(season: Floats, steps: int) -> Floats:
    """The `steps` that end where the season begins."""
    return np.asarray(season[np.arange(-steps, 0) % len(season)], np.float64)


def _arrivals(shape: Floats, chance: np.random.Generator) -> Floats:
    """What came per step [1/s]: each day busier or calmer as a whole, counts at random."""
    each = round(86_400.0 / STEP_S)
    moods = np.exp(DAY_SIGMA * chance.standard_normal(len(shape) // each) - DAY_SIGMA**2 / 2.0)
    return np.asarray(chance.poisson(MEAN_RPS * shape * np.repeat(moods, each) * STEP_S) / STEP_S, np.float64)


@lru_cache(maxsize=64)
def _inside(kind: Kind) -> Floats:
    made = kind.one.inside
    if made is None:
        raise ValueError(f"{kind.name}: the objectives are out of reach")
    return np.asarray(made.inside, np.float64)


@lru_cache(maxsize=64)
def _best_yield(kind: Kind) -> tuple[Floats, Floats]:
    """Loads, and answers in time per replica at the best load up to there, as a share of its capacity; loads scatter by 5 %."""
    loads = np.linspace(0.0, 1.3, 261)
    shares = np.mean([np.interp(loads * math.exp(0.05 * z), GRID, _inside(kind)) for z in SCATTER], axis=0)
    return loads, np.maximum.accumulate(loads * shares)


def in_time(kind: Kind, per_s: Floats, replicas: Floats) -> Floats:
    """Answers inside the objectives per second of `replicas` (may be a fraction: a start in the step) that `per_s` requests are sent to."""
    loads, yields = _best_yield(kind)
    rate = kind.one.requests_per_s
    with np.errstate(divide="ignore", invalid="ignore"):
        load = np.where(replicas > 0, per_s / (replicas * rate), 0.0)
    return np.asarray(replicas * rate * np.interp(np.minimum(load, loads[-1]), loads, yields), np.float64)


@lru_cache(maxsize=4096)
def worth(router: RouterCurve, share: float, degraded: float) -> tuple[float, float]:
    """How likely an answer is right, over always-best: mean over the requests that go small, and over those that go large.

    router: the calibration of the scores; share: of the requests, by score from the top, that go small; degraded: of the others, drawn by chance.
    """
    small, large = np.array(router.p_small), np.array(router.p_large)
    picked = np.clip(share * SCORE_BINS - np.arange(SCORE_BINS)[::-1], 0.0, 1.0)
    went = picked + (1.0 - picked) * degraded
    best = large.mean()
    right_small = float((went * small).sum() / went.sum() / best) if went.sum() > 0 else 0.0
    stayed = 1.0 - went
    right_large = float((stayed * large).sum() / stayed.sum() / best) if stayed.sum() > 1e-12 else 0.0
    return right_small, right_large


@dataclass(frozen=True, slots=True)
class Spent:
    """A period: per step USD paid, useful answers (in time, weighted with how likely they are right), and replicas (large, small)."""

    usd: Floats
    useful: Floats
    replicas: Floats

    @property
    def total_usd(self) -> float:
        """Of the period."""
        return float(self.usd.sum())

    @property
    def total_useful(self) -> float:
        """Of the period."""
        return float(self.useful.sum())


def step_of(of: Month, at: int, replicas: tuple[int, int], before: tuple[int, int], share: float, degraded: float) -> tuple[float, float]:  # noqa: PLR0917  one step's numbers
    """USD paid and useful answers of step `at`, with `before` replicas in the step before: new ones load first."""
    large, small = kinds()
    serving = [max(0, min(now, old) + max(0, now - old) * (1.0 - STARTUP_S / STEP_S)) for now, old in zip(replicas, before, strict=True)]
    usd = sum(count * kind.usd_per_h for count, kind in zip(replicas, (large, small), strict=True)) * float(of.price[at]) * STEP_S / 3600.0
    arrived = float(of.arrived[at])
    to_small = share + (1.0 - share) * degraded
    if serving[1] <= 0.0:
        share, degraded, to_small = 0.0, 0.0, 0.0
    if serving[0] <= 0.0:
        share, degraded, to_small = 1.0, 0.0, 1.0
    right_small, right_large = worth(of.router, round(share, 3), round(degraded, 3))
    answers = [
        float(in_time(kind, np.array(arrived * part), np.array(count)))
        for kind, part, count in zip((large, small), (1.0 - to_small, to_small), serving, strict=True)
    ]
    return usd, (answers[0] * right_large + answers[1] * right_small) * STEP_S
