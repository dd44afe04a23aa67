"""What would perfect knowledge have saved, and which part of the controller lost it?

    found = regret(asked, pool, progress)

Money is compared at equal attainment: all runs sweep the promised percentile, and the cost is read off each front at the target, which is what was
promised, or a little less than what was kept where that is lower. The bill at the target then falls in steps:

    as written          what the manifest's run cost
    over-delivery       as written - the controller's own front at the target: more answers were kept than was promised
    a part              the controller's front - its front with this one part replaced by an oracle (`oracles.py`), everything else the same
    all parts           the same with every part an oracle at once (parts help each other or say the same: their sum is another number)
    foresight           C_up: schedules made from the true future, replayed; the cheapest that reaches the target (`protocol/foresight.py`)

Foresight has each variant's requests as the controller routed them, respects replicas.min and max, and may also do what the controller does (its
front at the target). It can be done, by somebody who knows; it is not a bound, so a part can save more than all of it. Three further lines are no
parts of the controller but of what it was given: starts that take no time, no replicas.min, no budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jevons.core.snapshot import RouterCurve
from jevons.core.spec import AcceleratorClass, Deployment, RoutingMode
from jevons.simulator.competitors_spec import JevonsSettings
from jevons.simulator.oracles import Part, Seer, certain_router
from jevons.simulator.policies.policy import Sample, View
from jevons.simulator.protocol import foresight
from jevons.simulator.protocol.front import cost_at
from jevons.simulator.protocol.pool import Runner
from jevons.simulator.scenario import Controller, Requests, Scenario, met
from jevons.simulator.whatif import scenario_of
from jevons.simulator.world import simulate

PERCENTILES = (50.0, 80.0, 90.0, 99.0, 99.7)
"""Swept beside the promised one."""
FEW = (80.0, 99.0)
SUDDEN_S = 1.0
AWAKE_S = 60.0
PLANS_EACH = 10
NOISE = 0.005
"""Of an attainment over some thousand requests."""
AS_WRITTEN, TOGETHER = "as written", "all parts"
STARTS, MINIMUM, BUDGET = "starts in no time", "no replicas.min", "no budget"


@dataclass(frozen=True, slots=True)
class Asked:
    """A manifest, its prices and its traffic. `curve`: calibration of the router's scores."""

    written: Deployment
    accelerators: Mapping[str, AcceleratorClass]
    requests: Requests
    curve: RouterCurve | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """One run: USD and the share of requests kept. `variant`: who answered each (of the run as written alone)."""

    usd: float
    attained: float
    variant: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Loss:
    """One line. usd: at the target, None = not reached; saved: against the controller's own front (of over-delivery: against as written)."""

    name: str
    usd: float | None
    saved_usd: float | None
    of_the_controller: bool


@dataclass(frozen=True, slots=True)
class Regret:
    """The whole answer. Attainments are shares 0..1; hours: of the traffic."""

    promised: float
    written: Point
    target: float
    front_usd: float | None
    losses: tuple[Loss, ...]
    foresight_usd: float | None
    foresight_at_promise_usd: float | None
    """The same where the promise is kept; None = no schedule did."""
    hours: float

    @property
    def avoidable_usd(self) -> float | None:
        """What perfect knowledge would have saved."""
        return None if self.foresight_usd is None else self.written.usd - self.foresight_usd


@dataclass(frozen=True, slots=True)
class _Job:
    asked: Asked
    name: str
    percentile: float


@dataclass(frozen=True, slots=True)
class _Foresight:
    asked: Asked
    index: int
    chosen: NDArray[np.int64]
    plans: tuple[foresight.Plan, ...]


def regret(asked: Asked, pool: Runner, progress: Callable[[str, int], Callable[[], None]], *, quick: bool = False) -> Regret:
    """See above; `quick` looks at fewer points of each front and fewer schedules. Raises ValueError as `scenario_of` does."""
    world = scenario_of(asked.written, asked.accelerators, asked.requests, seed=asked.seed)
    promised = asked.written.objectives.percentile
    percentiles = sorted({promised, *(FEW if quick else PERCENTILES)})
    names = _names(asked.written)
    jobs = [_Job(asked, name, percentile) for name in names for percentile in percentiles]
    points = pool(_run, jobs, progress("oracles", len(jobs)))
    by_name: dict[str, list[Point]] = {name: [] for name in names}
    for job, point in zip(jobs, points, strict=True):
        by_name[job.name].append(point)
    written = by_name[AS_WRITTEN][percentiles.index(promised)]
    target = target_of(promised, written.attained)
    front = _at(by_name[AS_WRITTEN], target)
    losses = [Loss("over-delivery", front, _less(written.usd, front), True)]
    for name in names[1:]:
        usd = _at(by_name[name], target)
        losses.append(Loss(name, usd, _less(front, usd), name not in {STARTS, MINIMUM, BUDGET}))
    jobs_ahead = _ahead(asked, world, written, foresight.FEW if quick else foresight.SETTINGS)
    schedules = pool(_schedules, jobs_ahead, progress("foresight", len(jobs_ahead)))
    known = [usd for usd in (front, _cheapest(asked, world, jobs_ahead, schedules, target)) if usd is not None]
    best = min(known) if known else None
    whole = best if target >= promised / 100.0 else _cheapest(asked, world, jobs_ahead, schedules, promised / 100.0)
    return Regret(promised / 100.0, written, target, front, tuple(losses), best, whole, float(asked.requests.at_s[-1]) / 3600.0)


def target_of(promised: float, attained: float) -> float:
    """The attainment (0..1) at which money is compared: what was promised [percentile], or half a point below what is kept where that is less.

    Where everybody misses the promise, all are at their limits, and who is a few requests short of the other would be priced as unreached.
    """
    return promised / 100.0 if attained >= promised / 100.0 else max(0.0, attained - NOISE)


def _names(written: Deployment) -> tuple[str, ...]:
    routed = len(written.variants) > 1 and written.routing.mode is RoutingMode.AUTO
    names = [AS_WRITTEN, Part.FORECAST, Part.CAPACITY, Part.KEEPING, *([Part.ROUTING] if routed else []), TOGETHER, STARTS]
    if any(variant.min_replicas for variant in written.variants):
        names.append(MINIMUM)
    return (*map(str, names), *([BUDGET] if written.budget is not None else []))


def _at(points: Sequence[Point], target: float) -> float | None:
    cost = cost_at(np.array([one.attained for one in points]), np.array([one.usd for one in points]), target)
    return float(cost) if np.isfinite(cost) else None


def _less(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else before - after


def _run(job: _Job) -> Point:
    """One run of our operator, some of it an oracle."""
    asked, written, requests, curve = job.asked, job.asked.written, job.asked.requests, job.asked.curve
    parts = frozenset(Part) if job.name == TOGETHER else frozenset({Part(job.name)} if job.name in set(Part) else ())
    written = replace(written, objectives=replace(written.objectives, percentile=job.percentile))
    if job.name == STARTS:
        written = replace(written, variants=tuple(replace(variant, startup_s=SUDDEN_S) for variant in written.variants))
    if job.name == MINIMUM:
        written = replace(written, variants=tuple(replace(variant, min_replicas=0) for variant in written.variants))
    if job.name == BUDGET:
        written = replace(written, budget=None)
    if Part.ROUTING in parts and curve is not None and len(written.variants) > 1:
        requests, curve = certain_router(requests, curve, seed=asked.seed)
    scenario = scenario_of(written, asked.accelerators, requests, seed=asked.seed)
    settings = JevonsSettings(written=written, accelerators=asked.accelerators, curve=curve)
    needs = None
    if Part.KEEPING in parts:
        before = Seer(scenario, settings, parts - {Part.KEEPING})
        simulate(scenario, before)
        needs = before.diary.needs()
    return _played(scenario, Seer(scenario, settings, parts, needs), routes=job.name == AS_WRITTEN)


def _played(scenario: Scenario, controller: Controller, *, routes: bool = False) -> Point:
    outcome = simulate(scenario, controller)
    good = met(scenario.requests, outcome, scenario.objectives, scenario.classes)
    return Point(outcome.usd, float(good.mean()), tuple(outcome.variant.tolist()) if routes else ())


def _ahead(asked: Asked, world: Scenario, written: Point, plans: tuple[foresight.Plan, ...]) -> list[_Foresight]:
    """Foresight's jobs: each variant has the requests that it answered; what nobody answered is the best variant's."""
    qualities = [variant.quality for variant in world.variants]
    answered = np.array(written.variant)
    chosen = np.where(answered >= 0, answered, qualities.index(max(qualities)))
    mine = {index: np.flatnonzero(chosen == index) for index in range(len(world.variants))}
    return [
        _Foresight(asked, index, at, plans[first : first + PLANS_EACH])
        for index, at in mine.items()
        if len(at)
        for first in range(0, len(plans), PLANS_EACH)
    ]


def _cheapest(asked: Asked, world: Scenario, jobs: Sequence[_Foresight], found: Sequence[list[Point]], target: float) -> float | None:
    """C_up of all variants together; None when one of them does not reach the target. Who answered nothing costs its minimum."""
    total = 0.0
    for index, variant in enumerate(world.variants):
        mine = [point for job, points in zip(jobs, found, strict=True) if job.index == index for point in points]
        usd = _at(mine, target) if mine else variant.min_replicas * variant.usd_per_h * float(asked.requests.at_s[-1]) / 3600.0
        if usd is None:
            return None
        total += usd
    return total


def _schedules(job: _Foresight) -> list[Point]:
    world = scenario_of(job.asked.written, job.asked.accelerators, job.asked.requests, seed=job.asked.seed)
    at, variant, all_of = job.chosen, world.variants[job.index], world.requests
    requests = all_of.some(at)
    alone = replace(world, requests=requests, variants=(variant,))
    return [_played(alone, _Bounded(each, alone)) for each in foresight.controllers(alone, job.plans)]


class _Bounded:
    """A schedule that keeps the variant's minimum, and sleeps to it while nobody came for a minute and nobody comes before it could start."""

    def __init__(self, schedule: Controller, scenario: Scenario) -> None:
        self._schedule, self._at_s = schedule, scenario.requests.at_s
        (variant,) = scenario.variants
        self._minimum, self._ahead_s = variant.min_replicas, variant.startup.median_s + foresight.EARLY_S
        self.period_s, self.sample_s = schedule.period_s, schedule.sample_s

    def observe(self, samples: Mapping[str, Sample]) -> None:
        """It looks at nothing."""

    def decide(self, now: float, views: Mapping[str, View]) -> dict[str, int]:
        """The schedule's, within bounds."""
        first, last = np.searchsorted(self._at_s, (now - AWAKE_S, now + self._ahead_s))
        silent = first == last
        return {name: self._minimum if silent else max(self._minimum, count) for name, count in self._schedule.decide(now, views).items()}

    def wake(self, now: float, views: Mapping[str, View]) -> Mapping[str, int]:
        """What is wanted by now: the request that wakes it is known."""
        return self.decide(now, views)
