"""One deployment's facts as the data of its integer programme (`programme.py`).

What k replicas of a variant do, G(k), is read off the sizing rule itself (`usable.py`): the share s of all the deployment's work for which the rule
asks for k replicas. It grows faster than k, because a larger fleet's load fluctuates less. Classes that promise more, or wait longer, count as more
work. Score bins that the classifier tells apart by less than SAME are one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from jevons.core import sizing, usable, waiting
from jevons.core.demand import ClassLoad
from jevons.core.facts import VariantFacts
from jevons.core.ground import Ground, Promises, Question
from jevons.core.routing import MARGIN
from jevons.core.serving import capacity_of
from jevons.core.shadowprices import ShadowPrices
from jevons.core.statement import Group, Offer, Problem, Scenario

HORIZON_S, STARTS = 600.0, 2.0
"""What a plan is thought to last: this long, and so many of the longest start."""
DRAIN_S = 60.0
"""What a replica that is told to go still costs."""
SAME, CELLS = 0.01, 6
"""Neighbouring bins are one where their gaps (of right answers) differ by less than this, or by less than the whole range over so many."""
STEP, STEPS, BEYOND = 1.25, 24, 1.6
"""Loads at which the sizing rule is asked: BEYOND times the present one, and so many steps down."""
LEAST_PER_S = 1e-6
"""Arrivals [1/s] that are none."""
FULL = 0.97
"""Of what a fleet serves: a plan filled to the brim is out of date in the next pass."""
SCENARIOS = (Scenario(0.9, 0.25), Scenario(1.0, 0.25), Scenario(1.1, 0.25), Scenario(1.25, 0.25))
"""Demand over the horizon, of the present one. Replicas come in whole numbers, and go down late."""
MOST = max([scenario.factor for scenario in SCENARIOS])


def capable(ground: Ground) -> bool:
    """Whether there is something to choose, and all that it takes is known: several variants with profiles, and arrivals."""
    options = _options(ground)
    return ground.routed and len(options) > 1 and all(variant.profile is not None for variant in options) and bool(asked(ground))


def asked(ground: Ground) -> list[Question]:
    """The classes that something arrives for."""
    return [question for question in ground.questions if question.arrives and question.load.ahead_per_s > LEAST_PER_S]


def horizon_s(ground: Ground) -> float:
    """How long a plan is thought to last [s]."""
    return max(HORIZON_S, STARTS * max([variant.startup_s for variant in _options(ground)], default=0.0))


def priced(ground: Ground) -> bool:
    """Whether every variant that may serve has a price."""
    return all(variant.usd_per_h is not None for variant in _options(ground))


def bounds(variant: VariantFacts) -> tuple[int, int]:
    """Fewest and most replicas that a plan may have of it: what cannot be moved stays, and no more than there are where no node comes."""
    spec, seen = variant.spec, variant.seen
    if variant.fixed and variant.fixed != "Recommend":
        return variant.current, variant.current
    most = spec.max_replicas
    if seen.unprovisioned:
        most = min(most, seen.ready + round(seen.expected))
    return min(spec.min_replicas, most), most


def problem(ground: Ground, shadow_prices: ShadowPrices, units: Mapping[str, int]) -> Problem:
    """The programme's data at these prices; `units`: accelerators by class there are for it. Only where `capable`."""
    options, known = _options(ground), priced(ground)
    questions = asked(ground)
    loads = [question.load for question in questions]
    promises = Promises.without_pressure(ground.facts)
    offers, work = [], []
    for variant in options:
        least, most = bounds(variant)
        mix = _Mix(variant, loads, promises)
        offers.append(
            Offer(
                name=variant.spec.name,
                accelerator=variant.spec.accelerator_class,
                units=variant.spec.accelerator_count,
                usd_per_h=shadow_prices.usd_per_h(variant, priced=known),
                startup_s=variant.startup_s,
                current=variant.current,
                least=least,
                most=most,
                capacity=mix.capacity(most, max(least, variant.current)),
            )
        )
        work.append(mix.work)
    groups = []
    for index, question in enumerate(questions):
        group = _group(question, _able(options, question.load, [row[index] for row in work]))
        late = [offer.usd_per_h * _growth(ground, variant, question.load) for variant, offer in zip(options, offers, strict=True)]
        groups.append(replace(group, late=tuple(late), waiting_usd_per_h=_waiting_usd_per_h(ground, question.load, group.work)))
    more = tuple([scenario for scenario in SCENARIOS if scenario.factor > 1.0])
    return Problem(tuple(offers), tuple(groups), horizon_s(ground), DRAIN_S, units, more)


def growth(ground: Ground, variant: VariantFacts) -> float:
    """What work costs that this variant's fleet does not bear, over what it costs on a replica that is there: the mean of all arrivals.

    It is late until a replica has started for it, and pays that start.
    """
    loads = [question.load for question in asked(ground)]
    total = sum([load.ahead_per_s for load in loads])
    return sum([load.ahead_per_s * _growth(ground, variant, load) for load in loads]) / total if total else 1.0


def _growth(ground: Ground, variant: VariantFacts, load: ClassLoad) -> float:
    """Of one class. Example: starts of 120 s, a horizon of 600 s, lateness at 10 times what a request costs: 1 + 0.2 + 10 * 0.2 = 3.2."""
    per_s = capacity_of(variant, load).requests_per_s
    late = sizing.late_loss_s(load.objectives.late_cost_usd, variant.usd_per_h, per_s) * per_s if not load.patience_s else 0.0
    start = min(1.0, variant.startup_s / horizon_s(ground))
    return 1.0 + start + late * start


def _waiting_usd_per_h(ground: Ground, load: ClassLoad, work: tuple[float, ...]) -> float | None:
    """What it costs that all of a class waits, without any shadow price: pressure makes serving dearer, not waiting. None = it may not."""
    if not load.patience_s:
        return None
    since_s = min([held.oldest_at_s for held in ground.facts.state.held if held.patient], default=ground.facts.now)
    cheapest = min([part * variant.rate for part, variant in zip(work, _options(ground), strict=True)])
    return cheapest * waiting.price(ground.facts.now - since_s, load.patience_s) if cheapest < math.inf else None


def _options(ground: Ground) -> list[VariantFacts]:
    return [variant for variant in ground.facts.variants if variant.usable]


class _Mix:
    """All of the deployment's classes on one variant."""

    def __init__(self, variant: VariantFacts, loads: list[ClassLoad], promises: Promises) -> None:
        self._parts, self._variance, self._doubt = [], 0.0, 0.0
        for load in loads:
            one = capacity_of(variant, load)
            work = load.ahead_per_s / one.requests_per_s
            kept = None
            if one.inside is not None and not load.patience_s:
                kept = one.inside.kept(promises.of(load.objectives.percentile))
                self._variance += work * one.inside.dispersion(load.dispersion) / (one.requests_per_s * one.inside.tau_s)
                self._doubt += work * work * load.doubt
            self._parts.append((work, kept))
        self._total = sum(work for work, _ in self._parts)
        self._full = self._needed(1.0)
        deviation = self._deviation(1.0)
        self.work = [work / (kept.share(deviation) if kept is not None else 1.0) / self._full * self._total for work, kept in self._parts]
        """By class, in fluid replicas of the mix."""

    def _deviation(self, part: float) -> float:
        return usable.noise(part * self._variance + part * part * self._doubt, part * self._total)

    def _needed(self, part: float) -> float:
        """Replicas for that part of the work, by the sizing rule."""
        deviation = self._deviation(part)
        return sum([part * work / (kept.share(deviation) if kept is not None else 1.0) for work, kept in self._parts])

    def capacity(self, most: int, least: int) -> tuple[float, ...]:
        """G(1), G(2), ...: up to `most`, but beyond what all of the work takes only to `least`."""
        loads = [BEYOND / STEP**step for step in range(STEPS)][::-1]
        needed = [self._needed(part) for part in loads]
        found: list[float] = []
        place = 0
        for count in range(1, max(most, least) + 1):
            while place < STEPS - 1 and needed[place + 1] < count:
                place += 1
            found.append(FULL * self._total * _between(loads, needed, place, float(count)))
            if found[-1] >= MOST * self._total and count >= least:
                break
        return tuple(found)


def _between(loads: list[float], needed: list[float], place: int, count: float) -> float:
    """The part of the work for which `count` are asked, straight in log-log between two knots (or beyond the ends)."""
    low, high = needed[place], needed[min(place + 1, STEPS - 1)]
    if place >= STEPS - 1 or count >= needed[-1]:
        return loads[-1] * min(1.0, count / needed[-1]) if count < needed[-1] else loads[-1]
    if count <= low or high <= low:
        return loads[place] * count / low
    return loads[place] * math.pow(STEP, math.log(count / low) / math.log(high / low))


def _able(options: list[VariantFacts], load: ClassLoad, work: list[float]) -> list[float]:
    """The work by variant, infinite where one cannot serve the class: too short a context, or too slow even with one request. Unless all are such."""
    able = [load.input_tokens + load.output_tokens <= variant.spec.context_length and capacity_of(variant, load).reachable for variant in options]
    return [each if fits or not any(able) else math.inf for each, fits in zip(work, able, strict=True)]


def _group(question: Question, work: list[float]) -> Group:
    """One class, with neighbouring bins made one where they hardly differ."""
    splits, load = question.splits, question.load
    if splits is None:
        raise ValueError(f"class {load.name}: nothing is routed by score")
    rights, total = splits.right(), sum(splits.shares) or 1
    gaps = [[value - best for value, best in zip(row, rights[0], strict=True)] for row in rights]
    same = max(SAME, max([max(row) - min(row) for row in gaps]) / CELLS)
    cells: list[list[int]] = []
    for bin_ in range(len(splits.shares)):
        if cells and all(abs(row[bin_] - row[cells[-1][0]]) <= same for row in gaps):
            cells[-1].append(bin_)
        else:
            cells.append([bin_])
    weights = [sum(splits.shares[bin_] for bin_ in cell) / total for cell in cells]
    right = [tuple([_mean(row, splits.shares, cell) for cell in cells]) for row in rights]
    target = min(1.0, load.min_quality + MARGIN) * splits.always_best()
    return Group(load.name, tuple(weights), tuple(work), tuple(right), target)


def _mean(row: tuple[float, ...], counts: tuple[float, ...], cell: list[int]) -> float:
    """P(right) over the bins of a cell, weighted by their requests."""
    total = sum([counts[bin_] for bin_ in cell])
    return sum([counts[bin_] * row[bin_] for bin_ in cell]) / total if total else row[cell[0]]
