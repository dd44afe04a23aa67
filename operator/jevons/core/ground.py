"""What the plans of one deployment stand on: everything that does not depend on budget pressure, worked out once per pass.

Which variant is best and which one a request wakes, what every class asks (its options, their costs, its scores), who is held for whom. `planner.py`
makes plans from it, one per step of pressure; `steering.py` weighs routes on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from jevons.core import attainment, capacity, routing, usable
from jevons.core.course import Course
from jevons.core.demand import ClassLoad, promise
from jevons.core.facts import Facts, VariantFacts
from jevons.core.routing import Option, Split, Splits
from jevons.core.serving import cost
from jevons.core.shadowprices import NO_SHADOW, ShadowPrices
from jevons.core.snapshot import RouterCurve
from jevons.core.spec import RoutingMode

DEFAULT_TOKENS = (capacity.tokens(None, capacity.DEFAULT_INPUT_TOKENS), capacity.tokens(None, capacity.DEFAULT_OUTPUT_TOKENS))
MOST_GROWTH = 2.0
"""What runs says no more than this multiple of itself of what will: in a lull single requests run, and long ones outlast their arrivals."""
NONE_HELD: Mapping[str, int] = {}
BY_SCORE = RoutingMode.AUTO


@dataclass(slots=True)
class Question:
    """One class's routing question; only the margin and the degraded share of its answer depend on pressure."""

    load: ClassLoad
    weight: float
    """Of its arrivals in all of the deployment's."""
    arrives: bool
    splits: Splits | None
    """None where nothing is routed by score."""


class Promises:
    """The share of requests that each promised percentile asks for in a plan at this pressure, worked out once."""

    __slots__ = ("_found", "pressure", "tight")

    def __init__(self, pressure: float, tight: float) -> None:
        self.pressure, self.tight = pressure, tight * (1.0 - pressure)
        self._found: dict[float, float] = {}

    @staticmethod
    def without_pressure(facts: Facts) -> Promises:
        """Those that a plan without a budget keeps."""
        return promises_at(0.0, attainment.deviations(facts.memory.attained))

    def of(self, percentile: float) -> float:
        """See `usable.promised`."""
        found = self._found.get(percentile)
        if found is None:
            found = self._found[percentile] = usable.promised(percentile, self.pressure)
        return found


promises_at = lru_cache(maxsize=1024)(Promises)
"""The `Promises` of equal pressure and headroom are one object."""


@dataclass(slots=True)
class Ground:
    """What the plans of one deployment at all pressures share."""

    facts: Facts
    best: str
    wake: str
    alone: Split
    """All to the best variant: the answer where nothing is routed by score."""
    routed: bool
    questions: tuple[Question, ...]
    held: Mapping[str, int]
    """Held requests by the variant that shall serve them."""
    growth: float
    """Arrivals when a replica ordered now is ready, over those now."""
    places: Mapping[str, int]
    """Of the variants in `facts`, by name."""
    heaviest: str
    """The class that most requests are of."""
    course: Course | None = None
    """Thresholds chosen together with replicas (`steering.py`); None = each class by the rule of `routing.py`."""
    shadow: ShadowPrices = NO_SHADOW
    """Shadow prices of this pass."""
    trouble: str = ""
    """Why there is none although there might be."""


def ground_of(facts: Facts, curve: RouterCurve | None) -> Ground:
    """Everything that does not depend on pressure, worked out once."""
    may = [variant for variant in facts.variants if variant.usable] or list(facts.variants)
    cheapest = best = may[0]
    for variant in may[1:]:
        if (variant.rate, variant.spec.quality) < (cheapest.rate, cheapest.spec.quality):
            cheapest = variant
        if (variant.spec.quality, -variant.rate) > (best.spec.quality, -best.rate):
            best = variant
    wake, top = cheapest.spec.name, best.spec
    best_quality = max([variant.spec.quality for variant in facts.variants])
    routed = len(may) > 1 and facts.spec.routing.mode is BY_SCORE
    questions = _questions(facts, may if routed else [], curve or routing.FLAT, best_quality or 1.0)
    heaviest = questions[0]
    for question in questions[1:]:
        if question.weight > heaviest.weight:
            heaviest = question
    return Ground(
        facts,
        top.name,
        wake,
        _alone(top.name, round(min(1.0, top.quality / best_quality) if best_quality > 0 else 1.0, 4)),
        routed,
        questions,
        _held(facts, wake) if facts.held else NONE_HELD,
        _growth(facts),
        {variant.spec.name: place for place, variant in enumerate(facts.variants)},
        heaviest.load.name,
    )


def _growth(facts: Facts) -> float:
    """Of all classes together: what runs is not known by class."""
    now_per_s = ahead_per_s = 0.0
    for load in facts.loads:
        now_per_s += load.now_per_s
        ahead_per_s += load.ahead_per_s
    return min(MOST_GROWTH, ahead_per_s / now_per_s) if now_per_s > 0.0 else 1.0


@lru_cache(maxsize=4096)
def _alone(name: str, quality: float) -> Split:
    """All of a class to one variant."""
    return Split((), ((name, 1.0),), quality)


def _questions(facts: Facts, may: list[VariantFacts], curve: RouterCurve, best_quality: float) -> tuple[Question, ...]:
    total = sum([load.now_per_s for load in facts.loads])
    priced = None not in [variant.usd_per_h for variant in may]
    made = []
    loads = facts.loads if tuple([load.name for load in facts.loads]) == facts.class_names else (*facts.loads, *_silent(facts))
    for load in loads:
        weight = load.now_per_s / total if total > 0 else 1.0 / max(1, len(facts.loads))
        splits = None
        if may:
            options = tuple([Option(variant.spec.name, variant.spec.quality, cost(variant, load, priced)) for variant in may])
            splits = routing.splits(options, best_quality, routing.score_shares(load.scores), curve)
        made.append(Question(load, weight, load.now_per_s + load.ahead_per_s > 0.0, splits))
    return tuple(made)


def _silent(facts: Facts) -> list[ClassLoad]:
    """Classes nobody has reported yet: they get thresholds from the flat prior, so that the first request is routed too."""
    known = {load.name for load in facts.loads}
    return [ClassLoad(name, 0.0, 0.0, *DEFAULT_TOKENS, *promise(facts.spec, name), ()) for name in facts.class_names if name not in known]


def _held(facts: Facts, wake: str) -> dict[str, int]:
    """Held requests by the variant that shall serve them: the one they wait for, or the cheapest usable one when that cannot start."""
    held: dict[str, int] = {}
    if facts.held:
        may = {variant.spec.name for variant in facts.variants if variant.usable}
        for waiting in facts.state.held:
            if waiting.count > 0:
                name = waiting.variant if waiting.variant in may else wake
                held[name] = held.get(name, 0) + waiting.count
    return held
