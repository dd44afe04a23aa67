"""Accelerators that several deployments want: what should one cost, so that they share out what there is?

Every deployment knows a few ways to serve its demand, each with its cost and the accelerators it holds. An accelerator of which more are wanted than
there are gets a price alpha [USD/h] on top, moved by a few subgradient steps from where the last pass left it; each deployment then takes the way
that is cheapest at these prices. The cheapest sharing seen on the way that fits is taken. Where none fits, the rest is repaired: whoever has the
lowest priority, and then the least to lose per accelerator, takes another way. Nobody is ever left without a way: what still does not fit is ordered,
and waits for nodes.

Alpha never exceeds PRICE_LIMIT times the accelerator's own price: beyond that, waiting for a node that may come is the better bet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jevons.core.course import Way

STEPS = 8
STRIDE = 0.5
"""Of the accelerator's price, per step and relative excess."""
PRICE_LIMIT = 2.0
STAY = 0.03
"""A sharing is only left for one that costs so much less."""


@dataclass(frozen=True, slots=True)
class Member:
    """One deployment: its priority (higher goes first), the way it is on, and the others it knows."""

    name: str
    priority: int
    way: Way
    others: tuple[Way, ...] = ()


@dataclass(frozen=True, slots=True)
class Sharing:
    """The way of each member, and the prices [USD/h per accelerator] that go with it; a class without one is not scarce."""

    ways: tuple[Way, ...]
    alpha: Mapping[str, float]


def share(members: Sequence[Member], free: Mapping[str, int], prices: Mapping[str, float], alpha: Mapping[str, float]) -> Sharing:
    """Share out `free` accelerators by class (one that is left out is without bound); `prices`: USD/h of one, `alpha`: of the last pass.

    The same sharing comes out again, at the same prices, when nothing has changed.
    """
    present = tuple([member.way for member in members])
    wished = tuple([_cheapest(member, {}) for member in members])
    if fits(wished, free):
        back = not fits(present, free) or (alpha and _usd(wished) < _usd(present) * (1.0 - STAY))
        return Sharing(wished if back else present, {})
    best, at = (present, alpha) if fits(present, free) else (None, alpha)
    for _ in range(STEPS):
        alpha = _moved(tuple([_cheapest(member, alpha) for member in members]), free, prices, alpha)
        ways = tuple([_cheapest(member, alpha) for member in members])
        if fits(ways, free) and (best is None or _usd(ways) < _usd(best) * (1.0 - STAY)):
            best, at = ways, alpha
    if best is not None:
        return Sharing(_filled(members, best, free), at)
    repaired = _repaired(members, present, free)
    return Sharing(repaired, at if repaired == present else alpha)


def fits(ways: Sequence[Way], free: Mapping[str, int]) -> bool:
    """Whether there are enough accelerators of every class."""
    return all(used(ways, name) <= bound for name, bound in free.items())


def used(ways: Sequence[Way], accelerator: str) -> int:
    """Accelerators of the class that these ways hold."""
    return sum([way.of(accelerator) for way in ways])


def _usd(ways: Sequence[Way]) -> float:
    return sum([way.usd_per_h for way in ways])


def _cheapest(member: Member, alpha: Mapping[str, float]) -> Way:
    """The cheapest way at these prices; of equals the one it is on."""
    return min((member.way, *member.others), key=lambda way: way.usd_per_h + sum([price * way.of(name) for name, price in alpha.items()]))


def _moved(ways: Sequence[Way], free: Mapping[str, int], prices: Mapping[str, float], alpha: Mapping[str, float]) -> dict[str, float]:
    """One subgradient step: dearer where too many are wanted, cheaper where some are left."""
    found = {}
    for name, bound in free.items():
        price = prices.get(name, 1.0)
        step = STRIDE * price * (used(ways, name) - bound) / max(1, bound)
        level = min(PRICE_LIMIT * price, max(0.0, alpha.get(name, 0.0) + step))
        if level > 1e-3 * price:
            found[name] = float(f"{level:.3g}")
    return found


def _repaired(members: Sequence[Member], ways: tuple[Way, ...], free: Mapping[str, int]) -> tuple[Way, ...]:
    """Move members, the least important and then the least regretted first, until all fits or nobody else can move."""
    made = list(ways)
    while True:
        short = {name: used(made, name) - bound for name, bound in free.items() if used(made, name) > bound}
        moves = [
            (members[index].priority, regret, index, way)
            for index in range(len(members))
            for way in members[index].others
            if (regret := _regret(made[index], way, short, free, made)) is not None
        ]
        if not short or not moves:
            return tuple(made)
        _, _, index, way = min(moves, key=lambda move: move[:3])
        made[index] = way


def _filled(members: Sequence[Member], ways: tuple[Way, ...], free: Mapping[str, int]) -> tuple[Way, ...]:
    """Give back what the prices took and nobody uses: to the most important, and then to whoever saves most."""
    made = list(ways)
    for index in sorted(
        range(len(made)), key=lambda index: (-members[index].priority, _cheapest(members[index], {}).usd_per_h - made[index].usd_per_h)
    ):
        for way in sorted((members[index].way, *members[index].others), key=lambda way: way.usd_per_h):
            if way.usd_per_h < made[index].usd_per_h * (1.0 - STAY) and fits([*made[:index], way, *made[index + 1 :]], free):
                made[index] = way
                break
    return tuple(made)


def _regret(present: Way, way: Way, short: Mapping[str, int], free: Mapping[str, int], made: Sequence[Way]) -> float | None:
    """What the change costs per accelerator that it frees; None when it frees none, or makes another class short."""
    freed = sum(min(missing, max(0, present.of(name) - way.of(name))) for name, missing in short.items())
    if not freed:
        return None
    for name, bound in free.items():
        more = way.of(name) - present.of(name)
        if more > 0 and used(made, name) + more > bound:
            return None
    return (way.usd_per_h - present.usd_per_h) / freed
