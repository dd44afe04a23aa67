"""What the core learned and must not forget between two passes, as plain values.

`decide` takes a `Memory` and returns the next one; the shell stores it as JSON in an operator-owned ConfigMap per deployment. An unknown or broken
checkpoint is an empty memory, never an error: everything here can be learned again. Nothing in it is an integrator on replicas: replicas are always
computed anew from what is seen, memory only says what was needed lately, how arrivals move and how long this model usually sleeps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from jevons.core import cowake, hazard, health, speed
from jevons.core.course import Course, listed, read
from jevons.core.cowake import Caller, Callers
from jevons.core.health import WELL, Health
from jevons.core.season import KEEP_HOURS, UNSEEN, Season
from jevons.core.spec import Key
from jevons.core.value import value
from jevons.core.within import within

LARGEST = 1e15
"""No time, rate or count of a checkpoint is larger."""
VERSION = 3
"""Version 1 had trends without their last reading and dispersion, both earlier ones had a slope in each trend's second place; they are still read."""


@value
class Bet:
    """A forecast under way: what a class's rate will be at `due_s`, and from what it was made [1/s]."""

    due_s: float
    above: float
    """The rate's difference from its base then."""
    base: float
    expected: float
    band: float
    """The reading is thought to be at most this much above `expected`, with a probability of forecast.COVERED."""


@value
class Learned:
    """What the forecasts of one class have taught (`forecast.py`)."""

    bets: float = 0.0
    lasting: float = 0.0
    square: float = 0.0
    error: float = 0.0
    width: float = 1.0
    """Correction of the band, so that it covers what it says."""
    covered: float = 0.0
    """Share of the readings inside the band."""
    pinball: float = 0.0
    """Mean pinball loss of the band's edge [1/s]."""


UNLEARNED = Learned()
BET = tuple(each.name for each in fields(Bet))
SEASON = tuple(each.name for each in fields(Season))
LEARNED = tuple(each.name for each in fields(Learned))


@value
class Trend:
    """How one class's arrivals move. Rates are [1/s], `at_s` [s since the epoch]."""

    level: float
    at_s: float
    rate: float | None = None
    """The last reading itself."""
    dispersion: float = 1.0
    """Variance over mean of the number of arrivals in about 15 s, 1 = at random."""
    base: float | None = None
    """Mean over about ten minutes."""
    learned: Learned = UNLEARNED
    pending: tuple[Bet, ...] = ()
    since_s: float | None = None
    """When it was first read."""
    tokens: tuple[float, float] | None = None
    """Mean input and output of its requests lately; None = never known."""
    horizon_s: float = 60.0
    """How far ahead its forecasts look: one startup time."""


@value
class VariantMemory:
    """What one variant showed."""

    needs: tuple[tuple[float, int], ...] = ()
    """(time, replicas needed), falling from left to right: the maximum over a window is its first entry that is young enough."""
    batch: float | None = None
    """Requests that one replica was seen to run without a queue, where there is no profile."""
    work_at_s: float | None = None
    """When work was last seen on it."""
    start_at_s: float | None = None
    """Since when it has replicas but none was ready; None = some are ready, or it sleeps."""
    failed_starts: int = 0
    parked_until_s: float | None = None
    slowness: float = 0.0
    """Logarithm of how much longer than its profile a replica takes (`speed.py`)."""
    slow_at_s: float | None = None
    gaps: tuple[tuple[float, ...], ...] = ()
    """By level from 2 on: decayed counts of gaps between its times of need, in the bins of idle.py (`levels.py`)."""
    health: Health = WELL
    """What its pods have shown: starts, stalls (`health.py`)."""
    slow_known: float = 0.0
    """How much `slowness` rests on: minutes of a full replica (`speed.py`)."""


@value
class Attained:
    """What became of the promise (`attainment.py`): the gateway's counters as last read, and the dual of keeping it [standard deviations].

    dear: by so many doublings cold starts are dearer for it, at the time `at_s` of that reading (0 = not known).
    kept: the share of useful answers while no start is to blame for one that is missing.
    """

    offered: float
    useful: float
    tight: float
    dear: float = 0.0
    kept: float = 1.0
    at_s: float = 0.0


ATTAINED, COLD = ("offered", "useful", "tight"), ("dear", "kept", "at_s")
"""In a checkpoint they stand apart: an operator from before the second row reads the first one."""


@value
class DeploymentMemory:
    """What one deployment showed."""

    variants: Mapping[str, VariantMemory] = field(default_factory=dict)
    trends: Mapping[str, Trend] = field(default_factory=dict)
    """By request class."""
    gaps: tuple[float, ...] = ()
    """Decayed counts of gaps between arrivals (`hazard.Gaps`)."""
    last_arrival_at_s: float | None = None
    wanted_usd_per_h: float | None = None
    """What the plan would cost without a budget, averaged over hours."""
    wanted_at_s: float = 0.0
    attained: Attained | None = None
    season: Season = UNSEEN
    """What the plan wanted hour by hour, under a budget (`season.py`)."""
    saving: float | None = None
    """The part of the cost that full budget pressure saves, on the average of a day."""
    callers: Callers = ()
    """Deployments of the namespace whose calls may foretell its own (`cowake.py`)."""
    course: Course | None = None
    """Thresholds that were chosen together with replicas (`steering.py`)."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Learned state of all deployments."""

    deployments: Mapping[Key, DeploymentMemory] = field(default_factory=dict)
    prior: tuple[float, ...] = ()
    """What all of them together showed of gaps (`hazard.pooled`), as of `prior_at_s`; not stored, it follows from them."""
    prior_at_s: float = 0.0

    def to_json(self, key: Key) -> str:
        """One deployment's memory as JSON (a few KB); KeyError if there is none."""
        memory = self.deployments[key]
        document = {
            "version": VERSION,
            "variants": {
                name: {
                    "needs": variant.needs,
                    "batch": variant.batch,
                    "workAt": variant.work_at_s,
                    "startAt": variant.start_at_s,
                    "failedStarts": variant.failed_starts,
                    "parkedUntil": variant.parked_until_s,
                    "slowness": variant.slowness,
                    "slowAt": variant.slow_at_s,
                    "slowKnown": variant.slow_known,
                    "gaps": variant.gaps,
                    "health": health.listed(variant.health),
                }
                for name, variant in memory.variants.items()
            },
            "trends": {name: _listed(trend) for name, trend in memory.trends.items()},
            "gaps": memory.gaps,
            "lastArrivalAt": memory.last_arrival_at_s,
            "wantedUsdPerHour": memory.wanted_usd_per_h,
            "wantedAt": memory.wanted_at_s,
            "attained": [getattr(memory.attained, name) for name in ATTAINED] if memory.attained is not None else None,
            "cold": [getattr(memory.attained, name) for name in COLD] if memory.attained is not None else None,
            "season": [getattr(memory.season, name) for name in SEASON],
            "saving": memory.saving,
            "course": listed(memory.course),
            "callers": [[one.name, one.open_s, one.followed, one.missed, one.lags] for one in memory.callers],
        }
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def from_json(cls, documents: Mapping[Key, str]) -> Memory:
        """The memory from checkpoints by deployment; a broken one is left out (it is learned again)."""
        deployments = {}
        for key, text in documents.items():
            memory = _deployment(text)
            if memory is not None:
                deployments[key] = memory
        return cls(deployments)

    def worth_saving(self, before: Memory, key: Key) -> bool:
        """Whether anything changed since `before` was stored that a restart could not see again within a minute or two.

        Such are parked starts, idle histories and how bursty arrivals are; the level of arrivals and the window of needs are not (after a restart
        nothing goes down for 180 s anyway).
        """
        new, old = self.deployments.get(key), before.deployments.get(key)
        if new is None or old is None:
            return new is not old
        told = [[(one.name, one.followed, one.missed) for one in memory.callers] for memory in (new, old)]
        if (
            told[0] != told[1]
            or hazard.pauses(new.gaps) != hazard.pauses(old.gaps)
            or new.variants.keys() != old.variants.keys()
            or new.season.hour != old.season.hour
        ):
            return True
        if any(
            abs(trend.dispersion - old.trends[name].dispersion) > 0.25 * trend.dispersion for name, trend in new.trends.items() if name in old.trends
        ):
            return True
        mine, theirs = new.attained or Attained(0.0, 0.0, 0.0), old.attained or Attained(0.0, 0.0, 0.0)
        if abs(mine.tight - theirs.tight) > 0.05 or abs(mine.dear - theirs.dear) > 0.5 or abs(mine.kept - theirs.kept) > 0.1:
            return True
        if abs((new.wanted_usd_per_h or 0.0) - (old.wanted_usd_per_h or 0.0)) > 0.05 * (old.wanted_usd_per_h or 0.01):
            return True
        return any(
            mine.failed_starts != theirs.failed_starts
            or mine.parked_until_s != theirs.parked_until_s
            or mine.batch != theirs.batch
            or mine.gaps != theirs.gaps
            or mine.health.starts_s != theirs.health.starts_s
            or mine.health.replaced_at_s != theirs.health.replaced_at_s
            or (
                mine.health.spot is not None
                and mine.health.spot.losses > (theirs.health.spot.losses if theirs.health.spot is not None else 0.0) + 0.5
            )
            or abs(mine.slowness - theirs.slowness) > 0.05
            or abs((mine.work_at_s or 0.0) - (theirs.work_at_s or 0.0)) > 60.0
            for mine, theirs in ((new.variants[name], old.variants[name]) for name in new.variants)
        )


def _deployment(text: str) -> DeploymentMemory | None:
    try:
        raw: dict[str, Any] = json.loads(text, parse_float=_sane, parse_int=_sane_count, parse_constant=_insane)
        if raw["version"] not in {1, 2, VERSION}:
            return None
        trends = {str(name): [*row[:1], *row[2:]] if raw["version"] < VERSION else row for name, row in raw["trends"].items()}
        return DeploymentMemory(
            variants={str(name): _variant(value) for name, value in raw["variants"].items()},
            trends={name: _trend(*row) for name, row in trends.items()},
            gaps=hazard.rebinned(tuple(float(count) for count in raw["gaps"])),
            last_arrival_at_s=_maybe(raw["lastArrivalAt"]),
            wanted_usd_per_h=_maybe(raw["wantedUsdPerHour"]),
            wanted_at_s=float(raw["wantedAt"]),
            attained=Attained(*[float(number) for number in (*raw["attained"], *(raw.get("cold") or ()))])
            if raw.get("attained") is not None
            else None,
            season=_season(*raw["season"]) if raw.get("season") else UNSEEN,
            saving=_maybe(raw.get("saving")),
            course=read(raw.get("course")),
            callers=tuple([_caller(*one) for one in raw.get("callers") or ()][: cowake.CALLERS]),
        )
    except (ValueError, TypeError, LookupError, AttributeError):
        return None


def _sane(text: str) -> float:
    """A number of a checkpoint; ValueError for one that nothing here can be: the memory would make every decision fail, pass after pass."""
    number = float(text)
    if not abs(number) <= LARGEST:
        raise ValueError(f"{text} is outside +-{LARGEST:g}")
    return number


def _sane_count(text: str) -> int:
    _sane(text)
    return int(text)


def _insane(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _caller(name: str, open_s: float | None, followed: float, missed: float, lags: Sequence[float]) -> Caller:
    if len(lags) != len(cowake.LAGS_S) - 1:
        raise ValueError(f"{len(lags)} bins of lags")
    return Caller(str(name), _maybe(open_s), float(followed), float(missed), tuple(float(count) for count in lags))


def _listed(trend: Trend) -> list[object]:
    learned, bets = [getattr(trend.learned, name) for name in LEARNED], [[getattr(bet, name) for name in BET] for bet in trend.pending]
    return [trend.level, trend.at_s, trend.rate, trend.dispersion, trend.base, learned, bets, trend.since_s, trend.tokens, trend.horizon_s]


def _trend(  # noqa: PLR0917  a row of numbers
    level: float,
    at_s: float,
    rate: float | None = None,
    dispersion: float = 1.0,
    base: float | None = None,
    learned: Sequence[float] = (),
    bets: Sequence[Sequence[float]] = (),
    since_s: float | None = None,
    tokens: Sequence[float] | None = None,
    horizon_s: float = 60.0,
) -> Trend:
    known = Learned(*[float(number) for number in learned])
    if min(level, rate or 0.0, dispersion, base or 0.0, known.bets, known.square, known.error, known.width) < 0.0:
        raise ValueError("rates, counts and squares are not negative")
    pending = tuple(Bet(*[float(number) for number in bet]) for bet in bets)
    sizes = (float(tokens[0]), float(tokens[1])) if tokens is not None else None
    return Trend(float(level), float(at_s), _maybe(rate), float(dispersion), _maybe(base), known, pending, _maybe(since_s), sizes, float(horizon_s))


def _season(hour: object, codes: object, total: float, samples: int, at_s: float) -> Season:
    if len(bytes.fromhex(str(codes))) > KEEP_HOURS:
        raise ValueError("a season is longer than it may be")
    return Season(int(str(hour)), str(codes), float(total), int(samples), float(at_s))


def _variant(raw: dict[str, Any]) -> VariantMemory:
    if abs(raw.get("slowness", 0.0)) > math.log(speed.SLOWEST):
        raise ValueError("slowness is outside what is ever learned")
    return VariantMemory(
        needs=tuple((float(at_s), int(replicas)) for at_s, replicas in raw["needs"]),
        batch=_maybe(raw["batch"]),
        work_at_s=_maybe(raw["workAt"]),
        start_at_s=_maybe(raw["startAt"]),
        failed_starts=int(raw["failedStarts"]),
        parked_until_s=_maybe(raw["parkedUntil"]),
        slowness=float(raw.get("slowness", 0.0)),
        slow_at_s=_maybe(raw.get("slowAt")),
        gaps=tuple(tuple(float(count) for count in row) for row in raw.get("gaps", ())),
        health=health.restored(raw.get("health", ())),
        slow_known=within(0.0, float(raw.get("slowKnown", speed.FIRM if raw.get("slowAt") is not None else 0.0)), speed.FIRM),
    )


def _maybe(raw: object) -> float | None:
    return None if raw is None else float(str(raw))
