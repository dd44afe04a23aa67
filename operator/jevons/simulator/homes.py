"""Places for replicas, and whose weights lie there: a start where the variant ran before need not pull its image and weights again.

A place is the part of a node that one replica takes. Whoever leaves it leaves the weights behind; a place that stays empty is gone after a while,
because an autoscaler takes the node away. The scheduler knows nothing of weights: it takes any of the empty places, and a new one only when there is
none. Only variants whose `Startup.home_s` is given are followed; what is not followed costs no draw of chance.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from jevons.simulator.scenario import SimVariant


@dataclass(slots=True, eq=False)
class Place:
    """One place. `weights`: names of the variants that were loaded on it; `left_s`: since when it is empty."""

    name: str
    kind: tuple[str, int]
    weights: set[str] = field(default_factory=set)
    left_s: float = 0.0


class Homes:
    """All places of a scenario. `keeps_s`: how long an empty one stays."""

    def __init__(self, keeps_s: float, seed: int) -> None:
        self._keeps_s, self._chance = keeps_s, np.random.default_rng((seed, 31))
        self._empty: list[Place] = []
        self._made = 0

    def enter(self, variant: SimVariant, now: float) -> Place:
        """The place of a replica that has just been scheduled."""
        self._empty = [place for place in self._empty if now - place.left_s <= self._keeps_s]
        kind = (variant.accelerator, variant.accelerators)
        fitting = [place for place in self._empty if place.kind == kind]
        if fitting:
            place = fitting[int(self._chance.integers(len(fitting)))]
            self._empty.remove(place)
            return place
        self._made += 1
        return Place(f"{variant.accelerator}-{self._made}", kind)

    def leave(self, place: Place, now: float, *, lost: bool) -> None:
        """A replica is gone, and its node with it when that was `lost`."""
        if not lost:
            place.left_s = now
            self._empty.append(place)
