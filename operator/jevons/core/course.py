"""A course: thresholds that were chosen together with replicas, and for how long they stand.

`now` is where requests go, `aim` where they shall go once what it takes is ready; they differ while something starts. A course stands as long as
demand stays within the range in which its replicas suffice and fewer would not do, and nothing else that it was chosen by has changed. It is part of
`Memory`, and loses nothing but a choice that is made again when a checkpoint is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from jevons.core.value import value

Cuts: TypeAlias = tuple[tuple[str, float], ...]
"""Thresholds of one class: variants from the lowest quality up, each with the score from which it answers; the last answers from 0."""
Routes: TypeAlias = tuple[tuple[str, Cuts], ...]
"""By request class: its thresholds."""
Setting: TypeAlias = tuple[tuple[str, tuple[float, ...]], ...]
"""What else a course was chosen by: numbers by variant, and of the whole."""
Prices: TypeAlias = tuple[tuple[str, float], ...]
"""By accelerator class [USD/h each]."""


@value
class Range:
    """One class's demand for which a course stands: arrivals ahead [1/s] and mean tokens."""

    name: str
    low: float
    high: float
    input_tokens: float
    output_tokens: float


@value
class Way:
    """One way to serve everything: thresholds, what its replicas cost [USD/h], and the accelerators they hold, by class."""

    routes: Routes
    usd_per_h: float
    units: tuple[tuple[str, int], ...]

    def of(self, accelerator: str) -> int:
        """Accelerators of that class."""
        return next((count for name, count in self.units if name == accelerator), 0)


@value
class Course:
    """See the module."""

    now: Routes
    way: Way
    """What it aims at."""
    ranges: tuple[Range, ...]
    setting: Setting
    at_s: float
    """When it was last weighed."""
    better_since_s: float | None = None
    """Since when another way is cheaper, though not by enough to pay for the change."""
    others: tuple[Way, ...] = ()
    """Other ways that were found, for when accelerators are short."""
    around: tuple[str, ...] = ()
    """Accelerators that a way around was looked for."""
    alpha: Prices = ()
    """Of the accelerators that were short in the pass before."""
    pressure: float = 0.0
    """Of the budgets in the pass before."""
    why: str = ""
    """What binds, and what it would save if it did not."""

    @property
    def aim(self) -> Routes:
        """Where requests shall go."""
        return self.way.routes


def listed(course: Course | None) -> list[Any] | None:
    """For JSON."""
    if course is None:
        return None
    ranges = [[each.name, each.low, each.high, each.input_tokens, each.output_tokens] for each in course.ranges]
    ways = [[way.routes, way.usd_per_h, way.units] for way in (course.way, *course.others)]
    return [course.now, ways, ranges, course.setting, course.at_s, course.better_since_s, course.around, course.alpha, course.pressure, course.why]


def read(row: Sequence[Any] | None) -> Course | None:
    """From JSON. Raises ValueError or TypeError for what is none."""
    if row is None:
        return None
    now, ways, ranges, setting, at_s, better_since_s, around, alpha, pressure, why = row
    found = [Way(_routes(routes), float(usd), tuple((str(name), int(count)) for name, count in units)) for routes, usd, units in ways]
    return Course(
        now=_routes(now),
        way=found[0],
        ranges=tuple(Range(str(name), *[float(number) for number in numbers]) for name, *numbers in ranges),
        setting=tuple((str(name), tuple(float(number) for number in numbers)) for name, numbers in setting),
        at_s=float(at_s),
        better_since_s=None if better_since_s is None else float(better_since_s),
        others=tuple(found[1:]),
        around=tuple(str(name) for name in around),
        alpha=tuple((str(name), float(price)) for name, price in alpha),
        pressure=float(pressure),
        why=str(why),
    )


def _routes(rows: Sequence[Any]) -> Routes:
    return tuple((str(name), tuple((str(variant), float(score)) for variant, score in cuts)) for name, cuts in rows)
