"""The courses of all deployments in one pass: who weighs anew, and how scarce accelerators are shared out.

A deployment whose course stands keeps it. The others are weighed (`steering.py`), the most overloaded first, until the pass has solved its share of
programmes; whoever is left stays on the course it has, or on the rule, and has its turn in the next pass. Then the accelerators that all want are
counted against those there are, and shared out by prices (`scarcity.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from jevons.core import ceilings, framing, scarcity, steering
from jevons.core.course import Course, Way
from jevons.core.ground import Ground
from jevons.core.milp import Solver
from jevons.core.money import accelerator_usd_per_h
from jevons.core.scarcity import Member
from jevons.core.shadowprices import ShadowPrices
from jevons.core.snapshot import Snapshot
from jevons.core.spec import Key
from jevons.core.steering import MOST_SOLVES, Weighing

YOUNG_S = 120.0


@dataclass(slots=True)
class Round:
    """One pass over all deployments: those that have a choice, and the programmes that may still be solved."""

    snapshot: Snapshot
    steered: dict[Key, Ground]
    solver: Solver
    now: float
    free: Mapping[str, int]
    alpha: Mapping[str, float]
    """Prices of scarce accelerators after the last pass."""
    solves: int = MOST_SOLVES


def steer(snapshot: Snapshot, grounds: Mapping[Key, Ground | str], solver: Solver, now: float) -> None:
    """Set the course of every ground that has a choice. Whatever goes wrong for one leaves that one on the rule, and says so."""
    alpha: dict[str, float] = {}
    choosing = {key: ground for key, ground in grounds.items() if isinstance(ground, Ground) and ground.routed}
    for ground in choosing.values():
        course = ground.facts.memory.course
        if course is not None and course.alpha:
            alpha.update((name, max(price, alpha.get(name, 0.0))) for name, price in course.alpha)
    steered, stale = {}, []
    for key, ground in choosing.items():
        try:
            if _on_course(ground, alpha):
                if ground.course is None and _young(ground):
                    continue
                steered[key] = ground
                if ground.course is None or not steering.stands(ground, ground.course):
                    stale.append(key)
        except Exception as error:  # noqa: BLE001  one broken object never stops the others
            _off_course(ground, error)
    if not steered:
        return
    this = Round(snapshot, steered, solver, now, _free(snapshot), alpha)
    for key in sorted(stale, key=lambda key: (-_overload(steered[key]), _at_s(steered[key]), key)):
        if this.solves <= 0:
            break
        try:
            weighing = Weighing(steered[key], this.free)
            steered[key].course = weighing.course_taken(solver)
            this.solves -= weighing.solves
        except Exception as error:  # noqa: BLE001  one broken object never stops the others
            _off_course(steered[key], error)
    _share(this)


def _on_course(ground: Ground, alpha: Mapping[str, float]) -> bool:
    """Take up the course that memory holds, at these prices of accelerators; whether there is anything to choose now."""
    course = ground.facts.memory.course
    ground.shadow = ShadowPrices(course.pressure if course is not None else 0.0, alpha)
    ground.course = steering.arrived(ground, course) if course is not None else None
    return framing.capable(ground)


def _young(ground: Ground) -> bool:
    """Whether traffic has just begun: what it will be is not known yet, and whatever is started for less would be started for nothing."""
    first_s = min([trend.since_s or 0.0 for trend in ground.facts.trends.values()], default=0.0)
    return ground.facts.now - first_s < YOUNG_S


def _off_course(ground: Ground, error: Exception) -> None:
    ground.course, ground.trouble = None, f"routes by rule, for choosing them failed: {type(error).__name__}: {error}"[:200]


def _overload(ground: Ground) -> float:
    """By how much demand exceeds what the course was chosen for; infinite without one."""
    course = ground.course
    if course is None:
        return math.inf
    high = {each.name: each.high for each in course.ranges}
    return max([question.load.ahead_per_s / max(1e-9, high.get(question.load.name, 0.0)) for question in ground.questions], default=0.0)


def _at_s(ground: Ground) -> float:
    return ground.course.at_s if ground.course is not None else 0.0


def _free(snapshot: Snapshot) -> dict[str, int]:
    """Accelerators by class that our deployments may hold together: its limit, its nodes' and what its power bears, less what others hold.

    A class of which no node is seen is without bound (nodes may come when a pod asks for one), unless it has a limit.
    """
    free: dict[str, int] = {}
    ours = ceilings.total(ceilings.held(snapshot))
    for name, accelerator in snapshot.accelerators.items():
        bounds = [accelerator.limit] if accelerator.limit is not None else []
        there = ceilings.nodes(snapshot, name)
        if there.nodes:
            bounds.append(there.allocatable - ceilings.others(snapshot, name, ours))
        if (powered := ceilings.powered(snapshot, accelerator, ours)) is not None:
            bounds.append(powered)
        if bounds:
            free[name] = max(0, min(bounds))
    return free


def _share(this: Round) -> None:
    """Share out what is scarce, and let those who must take another way."""
    courses = {key: ground.course for key, ground in this.steered.items() if ground.course is not None}
    left = dict(this.free)
    for key, units in ceilings.held(this.snapshot).items() if left else ():
        for name, count in units.items() if key not in courses else ():
            if name in left:
                left[name] = max(0, left[name] - count)
    ways = [course.way for course in courses.values()]
    short = [name for name, count in left.items() if scarcity.used(ways, name) > count]
    if not short and not this.alpha:
        return
    for name in short:
        _find_ways_around(this, name, courses)
    members = [Member(str(key), this.steered[key].facts.spec.priority, course.way, course.others) for key, course in courses.items()]
    accelerators = this.snapshot.accelerators
    prices = {name: float(price) for name in left if (price := accelerator_usd_per_h(accelerators.get(name), this.now)) is not None}
    sharing = scarcity.share(members, left, prices, this.alpha)
    alpha = tuple(sorted(sharing.alpha.items()))
    for (key, course), way in zip(courses.items(), sharing.ways, strict=True):
        ground = this.steered[key]
        moved = course if way == course.way else _moved(ground, course, way)
        ground.course = moved if moved.alpha == alpha else replace(moved, alpha=alpha)


def _find_ways_around(this: Round, name: str, courses: dict[Key, Course]) -> None:
    """For those who use a short accelerator and know no way with less of it, as far as solves are left."""
    for key in sorted(courses, key=lambda key: (this.steered[key].facts.spec.priority, key)):
        course = courses[key]
        if this.solves <= 0:
            break
        if course.way.of(name) and name not in course.around and not any(way.of(name) < course.way.of(name) for way in course.others):
            weighing = Weighing(this.steered[key], this.free)
            found = weighing.without(name, this.solver)
            this.solves -= weighing.solves
            others = course.others if found is None else (*course.others, found.way)
            courses[key] = this.steered[key].course = replace(course, others=others, around=(*course.around, name))


def _moved(ground: Ground, course: Course, way: Way) -> Course:
    """The course on another way, with the one it was on among the others."""
    weighing = Weighing(ground, {})
    weighed = weighing.weighed(way.routes)
    others = tuple([other for other in (course.way, *course.others) if other != way])
    now = way.routes if weighing.ready_for(way.routes, course.now) else course.now
    return replace(course, now=now, way=way, others=others, ranges=steering.ranges(ground, weighed.room), better_since_s=None)
