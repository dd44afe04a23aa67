"""Which course does a deployment take: the one it is on, what the routing rule says, or what the integer programme finds?

All three are valued alike, by the sizing rule itself: what their replicas cost over the time that a plan lasts, what has to start and what runs on
meanwhile. A course is left only for one that is better by more than TOLERANCE; one that costs less but not yet by the price of the change is taken
once the money lost by staying would have paid for it (ski rental, as in `levels.py`). A pass solves about MOST_SOLVES programmes; a deployment whose
turn does not come, or for which there is no answer, stays on its course, or else on the rule. Within a course's range nothing is done at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from jevons.core import attainment, framing, planner, programme, routing, statement
from jevons.core.course import Course, Range, Routes, Setting, Way
from jevons.core.facts import VariantFacts
from jevons.core.ground import Ground
from jevons.core.milp import Solver
from jevons.core.plan import Plan
from jevons.core.statement import Problem

MOST_SOLVES = 8
TOLERANCE = 0.03
LASTS_S = 900.0
"""A course is weighed again after this at the latest, while there is demand."""
AGAIN_S = 120.0
"""And after this while another one is cheaper."""
PATIENCE_S = 3600.0
"""For so long at most the money lost by staying is added up."""
LINGER_S = 300.0
"""A replica that is no longer needed stays about this long (`levels.py`, `idle.py`)."""
FALL, RISE = 0.8, 1.5
"""A course stands while demand is at least this part of what it was chosen for, and at most this multiple (less where replicas do not suffice)."""
TOKENS = 1.12
"""And mean tokens within this factor."""
QUALITY = 0.0006
"""Thresholds are published rounded: an expected quality so much below the promise is the promise."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """One way, valued: `usd` over the horizon, changes and penalties included; `counts` by variant; `room`: demand over what they were sized for."""

    way: Way
    usd: float
    counts: tuple[int, ...]
    room: float


class Weighing:
    """One deployment's ways at one moment."""

    def __init__(self, ground: Ground, units: Mapping[str, int]) -> None:
        self.ground, self.shadow, self.units = ground, ground.shadow, units
        self.course = ground.course
        self.solves = 0
        since_s = self.course.better_since_s if self.course is not None else None
        lost_s = min(PATIENCE_S, ground.facts.now - since_s) if since_s is not None else 0.0
        self._horizon_s = framing.horizon_s(ground) + lost_s
        self._priced = framing.priced(ground)

    @cached_property
    def _growth(self) -> dict[str, float]:
        """By variant (`framing.growth`)."""
        return {variant.spec.name: framing.growth(self.ground, variant) for variant in self.ground.facts.variants}

    def course_taken(self, solver: Solver) -> Course:
        """The course from now on."""
        ground, now, old = self.ground, self.ground.facts.now, self.course
        ruled = self.weighed(rule_of(ground))
        kept = self.weighed(_valid(ground, old.aim)) if old is not None else ruled
        problem = framing.problem(ground, self.shadow, self.units)
        solved, solution = self._solved(problem, solver, near=min(kept, ruled, key=lambda one: one.usd))
        found = [kept, ruled, *([solved] if solved is not None else [])]
        best = min(found, key=lambda one: one.usd)
        taken = best if best.usd < kept.usd * (1.0 - TOLERANCE) - 1e-12 else kept
        cheaper = min(found, key=lambda one: one.way.usd_per_h).way.usd_per_h < taken.way.usd_per_h * (1.0 - TOLERANCE)
        since_s = (old.better_since_s if old is not None and taken is kept else None) or now
        going = _valid(ground, old.now) if old is not None else ruled.way.routes
        course = Course(
            now=taken.way.routes if self.ready_for(taken.way.routes, going) else going,
            way=taken.way,
            ranges=ranges(ground, taken.room),
            setting=setting(ground),
            at_s=now,
            better_since_s=since_s if cheaper else None,
            others=tuple(dict.fromkeys(one.way for one in found if one.way.units != taken.way.units)),
            alpha=old.alpha if old is not None else (),
        )
        why = old.why if old is not None and taken is kept else ""
        if solution is not None and taken is solved:
            why = self._counterfactual(problem, solution, solver)
        return replace(course, why=why)

    def weighed(self, routes: Routes) -> Weighed:
        """Value one way by what the sizing rule asks for on it."""
        ground = self.ground
        plan, needed = planner.asked(ground, routes)
        held, started, stopped, missed = 0.0, 0.0, 0.0, 0.0
        counts, rooms, usd_per_h = [], [], 0.0
        units: dict[str, int] = {}
        for item, need in zip(plan.variants, needed, strict=True):
            variant, count = item.facts, _count(item.facts, need)
            price = self.shadow.usd_per_h(variant, priced=self._priced)
            held += price * _held(variant, need, self._growth[variant.spec.name])
            usd_per_h += variant.rate * count
            if count > variant.current:
                started += price * variant.startup_s * (count - variant.current)
            stopped += price * max(0, variant.current - count) * max(LINGER_S, variant.startup_s)
            missed += max(0.0, need - count)
            if need > 0.0:
                rooms.append(count / need)
            counts.append(count)
            if count:
                name = variant.spec.accelerator_class
                units[name] = units.get(name, 0) + count * variant.spec.accelerator_count
        dearest = max([self.shadow.usd_per_h(item.facts, priced=self._priced) for item in plan.variants])
        over = sum([max(0, count - self.units.get(name, count)) for name, count in units.items()])
        penalty = dearest * self._horizon_s * (statement.MISSED * missed + statement.OVER * over + statement.SHORT * _short(ground, plan))
        usd = held * self._horizon_s + started + stopped + penalty
        return Weighed(Way(routes, usd_per_h, tuple(sorted(units.items()))), usd / 3600.0, tuple(counts), min(rooms, default=1.0))

    def without(self, accelerator: str, solver: Solver) -> Weighed | None:
        """The best way without any of that accelerator."""
        problem = framing.problem(self.ground, self.shadow, {name: count for name, count in self.units.items() if name != accelerator})
        offers = tuple([replace(offer, least=0, most=0, capacity=()) if offer.accelerator == accelerator else offer for offer in problem.offers])
        return self._solved(replace(problem, offers=offers), solver)[0]

    def ready_for(self, routes: Routes, going: Routes) -> bool:
        """Whether what is ready bears requests on that way, or at least no worse than where they go."""
        there = self.fullest(routes)
        return there <= 1.0 or there <= self.fullest(going)

    def fullest(self, routes: Routes) -> float:
        """Of all variants the highest need over what is ready; infinite where one that is needed has nothing ready."""
        plan, needed = planner.asked(self.ground, routes)
        ratios = [
            need / item.facts.seen.ready if item.facts.seen.ready else math.inf
            for item, need in zip(plan.variants, needed, strict=True)
            if need > 0.0
        ]
        return max(ratios, default=0.0)

    def _solved(self, problem: Problem, solver: Solver, *, near: Weighed | None = None) -> tuple[Weighed | None, programme.Solution | None]:
        """The programme's way; `near`: where to begin."""
        self.solves += 1
        counts = {} if near is None else {item.spec.name: count for item, count in zip(self.ground.facts.variants, near.counts, strict=True)}
        solution = programme.solve(problem, solver, near=[counts[offer.name] for offer in problem.offers] if counts else None)
        if solution is None or solution.short:
            return None, solution
        routes = []
        for group, shares in zip(problem.groups, solution.shares, strict=True):
            splits = next(question.splits for question in self.ground.questions if question.load.name == group.name)
            if splits is not None and sum(shares) > 0.0:  # where all of it waits, the rule says where the rest goes
                wanted = {offer.name: part for offer, part in zip(problem.offers, shares, strict=True)}
                routes.append((group.name, routing.cuts_for(routing.ranked(splits.options), wanted, splits.shares)))
        return self.weighed(tuple(routes)), solution

    def _counterfactual(self, problem: Problem, solution: programme.Solution, solver: Solver) -> str:
        """One bound that binds, and what it costs."""
        bound, relaxed = _relaxed(problem, solution)
        self.solves += 1
        other = programme.solve(relaxed, solver, near=solution.replicas, evenly=False)
        if other is None:
            return ""
        saved = max(0.0, solution.usd - other.usd) * 3600.0 / problem.horizon_s
        return f"{bound} would save {saved:.3g} USD/h" if saved > 0.005 else f"{bound} would save nothing"


def rule_of(ground: Ground) -> Routes:
    """The thresholds of the routing rule, of every class that something arrives for."""
    plan, _ = planner.asked(ground, None)
    found = []
    for question in framing.asked(ground):
        split = plan.splits[question.load.name]
        ends = any(edge <= 0.0 for _, edge in split.min_score)
        found.append((question.load.name, split.min_score if ends else (*split.min_score, (split.shares[-1][0], 0.0))))
    return tuple(found)


def setting(ground: Ground) -> Setting:
    """What a course depends on beside demand."""
    facts = ground.facts
    rows = [
        (
            variant.spec.name,
            (
                -1.0 if variant.usd_per_h is None else variant.usd_per_h,
                float(variant.usable),
                float(variant.current if variant.fixed and variant.fixed != "Recommend" else -1),
                float(bool(variant.seen.unprovisioned)),
                round(variant.memory.slowness, 1),
            ),
        )
        for variant in facts.variants
    ]
    return (*rows, ("", (float(facts.spec.generation), attainment.deviations(facts.memory.attained))))


def stands(ground: Ground, course: Course) -> bool:
    """Whether the course is still what it was chosen to be: demand in its range, nothing else changed, the promise of quality kept."""
    now = ground.facts.now
    if now - course.at_s >= (AGAIN_S if course.better_since_s is not None else LASTS_S) or now < course.at_s:
        return False
    standing, arriving = {each.name: each for each in course.ranges}, 0
    for question in framing.asked(ground):
        load, within = question.load, standing.get(question.load.name)
        if within is None or not within.low <= load.ahead_per_s <= within.high:
            return False
        if not (_near(load.input_tokens, within.input_tokens) and _near(load.output_tokens, within.output_tokens)):
            return False
        arriving += 1
    if arriving < sum(each.low > 0.0 for each in course.ranges) or setting(ground) != course.setting:
        return False
    cuts = dict(course.aim)
    for question in framing.asked(ground):
        of = cuts.get(question.load.name)
        split = question.splits.cut(of, 0.0) if of is not None and question.splits is not None else None
        if split is None or split.expected_quality < question.load.min_quality - QUALITY:
            return False
    return True


def arrived(ground: Ground, course: Course) -> Course:
    """The course with requests going where it aims, once what is ready bears that."""
    if course.now == course.aim:
        return course
    weighing = Weighing(ground, {})
    return replace(course, now=course.aim) if weighing.ready_for(course.aim, course.now) else course


def _near(value: float, other: float) -> bool:
    return other <= value * TOKENS and value <= other * TOKENS


def _valid(ground: Ground, routes: Routes) -> Routes:
    """The routes whose variants may all serve, and the rule's for the other classes."""
    known, found = dict(routes), dict(rule_of(ground))
    for question in framing.asked(ground):
        cuts = known.get(question.load.name)
        if cuts is not None and question.splits is not None and question.splits.cut(cuts, 0.0) is not None:
            found[question.load.name] = cuts
    return tuple(found.items())


def ranges(ground: Ground, room: float) -> tuple[Range, ...]:
    """Demand for which a course stands, when its replicas do `room` times the present one."""
    rise = min(RISE, max(1.0 + 1e-6, room))
    loads = [question.load for question in framing.asked(ground)]
    return tuple([Range(load.name, FALL * load.ahead_per_s, rise * load.ahead_per_s, load.input_tokens, load.output_tokens) for load in loads])


def _count(variant: VariantFacts, need: float) -> int:
    least, most = framing.bounds(variant)
    return min(max(math.ceil(need - 1e-9), least), most)


def _held(variant: VariantFacts, need: float, growth: float) -> float:
    """Replicas over the scenarios of demand, those that are there now at their price and what they do not bear `growth` times as dear."""
    total = 0.0
    for scenario in framing.SCENARIOS:
        stay = _count(variant, min(1.0, scenario.factor) * need)
        total += scenario.probability * (stay + growth * max(0.0, scenario.factor * need - stay))
    return total


def _short(ground: Ground, plan: Plan) -> float:
    """Quality below the promise, summed over classes."""
    return sum(max(0.0, question.load.min_quality - QUALITY - plan.splits[question.load.name].expected_quality) for question in framing.asked(ground))


def _relaxed(problem: Problem, solution: programme.Solution) -> tuple[str, Problem]:
    """A bound that binds, in words with its relaxation, and the problem without it: replicas.max, then accelerators, then quality."""
    for index, (offer, count) in enumerate(zip(problem.offers, solution.replicas, strict=True)):
        if count and count >= offer.most and len(offer.capacity) == count:
            grown = (*offer.capacity, offer.capacity[-1] * (count + 1) / count)
            offers = [*problem.offers[:index], replace(offer, most=count + 1, capacity=grown), *problem.offers[index + 1 :]]
            return f"one more than replicas.max {count} of {offer.name}", replace(problem, offers=tuple(offers))
    for name, bound in problem.units.items():
        held = sum(
            offer.units * max(count, offer.current)
            for offer, count in zip(problem.offers, solution.replicas, strict=True)
            if offer.accelerator == name
        )
        if held >= bound > 0:
            return f"more than the {bound} {name} there are", replace(
                problem, units={other: count for other, count in problem.units.items() if other != name}
            )
    groups = tuple([replace(group, target=0.99 * group.target) for group in problem.groups])
    return "a hundredth less quality", replace(problem, groups=groups)
