"""Which engine setting would save money on this traffic? Every one is tried in the simulator before it is named; nothing is changed anywhere.

    found = advice(asked, ways, pool, progress)

A `Way` is the manifest with one thing different: prefill chunk (max batched tokens), sequences at once, context limit, precision, accelerator. As
with regret, money is compared at equal attainment: each way sweeps the promised percentile, and its cost is read off its front at the target (what
was promised, or what the manifest keeps where that is less). Beside it stands the smallest static fleet of the best variant that keeps 95 and 99 % of
all requests alone: what the setting does to one replica, without any controller.

A context limit refuses what is longer; those requests count as missed. A way that saves by more than `WORTH` is advised; per variant and setting the
best one. The best of all comes first; each further one is advised only if it saves again together with those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jevons.simulator.advice_ways import Setting, Way, changed, fits
from jevons.simulator.competitors import jevons
from jevons.simulator.protocol.front import cost_at
from jevons.simulator.protocol.pool import Runner
from jevons.simulator.protocol.sizing import attained
from jevons.simulator.regret import Asked, target_of
from jevons.simulator.scenario import Physics, met
from jevons.simulator.static import smallest
from jevons.simulator.whatif import scenario_of
from jevons.simulator.world import simulate

PERCENTILES = (80.0, 99.0, 99.7)
"""Swept beside the promised one."""
STATIC = (0.95, 0.99)
MOST = 64
WORTH = 0.02
"""Of the bill: less is noise of the arrivals."""
AS_WRITTEN = "as written"


@dataclass(frozen=True, slots=True)
class Priced:
    """A way, tried. usd: at the target, None = not reached; saved: share of the bill as written, may be negative; static: fleets for `STATIC`."""

    way: Way | None
    usd: float | None
    saved: float | None
    attained: float
    """At the promised percentile."""
    static: tuple[int | None, ...] | None
    """None: the variant is not the best one, or is not tried alone."""


@dataclass(frozen=True, slots=True)
class Advice:
    """The whole answer. `tried` in the order of the ways; `advised`: worth it; `together`: all advised at once, None when fewer than two."""

    target: float
    written: Priced
    tried: tuple[Priced, ...]
    advised: tuple[Priced, ...]
    together: Priced | None
    usd: float
    """Of the run as written, at its own attainment."""
    hours: float


@dataclass(frozen=True, slots=True)
class _Job:
    asked: Asked
    ways: tuple[Way, ...]
    percentile: float


@dataclass(frozen=True, slots=True)
class _Static:
    asked: Asked
    ways: tuple[Way, ...]


def advice(asked: Asked, ways: Sequence[Way], pool: Runner, progress: Callable[[str, int], Callable[[], None]]) -> Advice:
    """Every way tried. Raises ValueError as `scenario_of` does."""
    scenario_of(asked.written, asked.accelerators, asked.requests, seed=asked.seed)
    promised = asked.written.objectives.percentile
    percentiles = sorted({promised, *PERCENTILES})
    trial = _Trial(asked, percentiles, pool, progress)
    plain = trial.of([(), *((one,) for one in ways)], "settings")
    index = percentiles.index(promised)
    own = plain[0].points[index]
    target = target_of(promised, own[0])
    bill = _at(plain[0].points, target)
    written = _priced(None, plain[0], target, bill, index)
    tried = tuple(_priced(one, found, target, bill, index) for one, found in zip(ways, plain[1:], strict=True))
    advised, together = _together(_worth(tried), trial, target, bill, index)
    return Advice(target, written, tried, advised, together, own[1], float(asked.requests.at_s[-1]) / 3600.0)


@dataclass(frozen=True, slots=True)
class _Found:
    points: tuple[tuple[float, float], ...]
    """(attained, usd) per percentile."""
    static: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class _Trial:
    asked: Asked
    percentiles: Sequence[float]
    pool: Runner
    progress: Callable[[str, int], Callable[[], None]]

    def of(self, sets: Sequence[tuple[Way, ...]], what: str) -> list[_Found]:
        """Each set of ways, as one manifest."""
        jobs: list[_Job | _Static] = [_Job(self.asked, ways, percentile) for ways in sets for percentile in self.percentiles]
        jobs += [_Static(self.asked, ways) for ways in sets]
        found = self.pool(_work, jobs, self.progress(what, len(jobs)))
        each, statics = len(self.percentiles), found[len(sets) * len(self.percentiles) :]
        return [_Found(tuple(found[each * at : each * (at + 1)]), statics[at]) for at in range(len(sets))]


def _priced(one: Way | None, found: _Found, target: float, bill: float | None, index: int) -> Priced:
    usd = _at(found.points, target)
    saved = None if usd is None or bill is None else (bill - usd) / bill
    return Priced(one, usd, saved, found.points[index][0], found.static)


def _at(points: Sequence[tuple[float, float]], target: float) -> float | None:
    cost = cost_at(np.array([kept for kept, _ in points]), np.array([usd for _, usd in points]), target)
    return float(cost) if np.isfinite(cost) else None


def _together(worth: Sequence[Priced], trial: _Trial, target: float, bill: float | None, index: int) -> tuple[tuple[Priced, ...], Priced | None]:
    """Of those that are worth it alone the ones that are also worth it together, and all of them priced as one manifest (None for fewer than two)."""
    chosen, together = list(worth[:1]), None
    for one in worth[1:]:
        (both,) = trial.of([tuple(each.way for each in (*chosen, one) if each.way is not None)], "together")
        priced, before = _priced(None, both, target, bill, index), (together or chosen[0]).saved
        if priced.saved is not None and before is not None and priced.saved >= before + WORTH:
            chosen.append(one)
            together = priced
    return tuple(chosen), together


def _worth(tried: Sequence[Priced]) -> tuple[Priced, ...]:
    """The best way of each variant and setting that is worth it; of precision and accelerator, which exclude each other, the better one."""
    best: dict[tuple[str, str], Priced] = {}
    for one in tried:
        if one.way is None or one.saved is None or one.saved < WORTH:
            continue
        engine = one.way.setting in {Setting.PRECISION, Setting.ACCELERATOR}
        key = (one.way.variant, "machine" if engine else one.way.setting.value)
        if key not in best or one.saved > (best[key].saved or 0.0):
            best[key] = one
    return tuple(sorted(best.values(), key=lambda one: -(one.saved or 0.0)))


def _work(job: _Job | _Static) -> tuple[float, float] | tuple[int | None, ...] | None:
    return _run(job) if isinstance(job, _Job) else _fleets(job)


def _run(job: _Job) -> tuple[float, float]:
    """Share of all requests kept, and USD."""
    asked = job.asked
    written = changed(asked.written, job.ways)
    written = replace(written, objectives=replace(written.objectives, percentile=job.percentile))
    requests = fits(asked.requests, written)
    if not len(requests):
        return 0.0, 0.0
    scenario = scenario_of(written, asked.accelerators, requests, seed=asked.seed)
    outcome = simulate(scenario, jevons(scenario, written=written, accelerators=asked.accelerators, curve=asked.curve))
    return float(met(requests, outcome, scenario.objectives, scenario.classes).sum()) / len(asked.requests), outcome.usd


def _fleets(job: _Static) -> tuple[int | None, ...] | None:
    """The smallest static fleets of the best variant; None when the ways leave it as it is."""
    written = changed(job.asked.written, job.ways)
    best = written.best
    if best.profile is None or (job.ways and all(one.variant != best.name for one in job.ways)):
        return None
    requests, physics = fits(job.asked.requests, written), Physics(best.profile)
    share = len(requests) / len(job.asked.requests)

    def enough(replicas: int, target: float) -> bool:
        return attained(requests, physics, written.objectives, replicas) * share >= target

    return tuple(smallest(lambda replicas, target=target: enough(replicas, target), guess=4, most=MOST) for target in STATIC)  # type: ignore[misc]
