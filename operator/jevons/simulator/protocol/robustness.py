"""The table that shows whether a ranking holds: our cost over everybody's, as otherwise and under each condition of `conditions`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from jevons.simulator.protocol.bootstrap import Interval
from jevons.simulator.protocol.cell import Cell
from jevons.simulator.protocol.policies import JEVONS, Tier
from jevons.simulator.protocol.report import Ratio, tier_name
from jevons.simulator.protocol.tables import times

SHOWN = 0.95


def headings(made: Sequence[Ratio], cell: Cell) -> list[str]:
    """Of the columns: as otherwise, and each condition."""
    return ["policy", "tier", "nominal", *_conditions(made, cell)]


def lines(made: Sequence[Ratio], cell: Cell) -> Iterator[list[str]]:
    """Our cost over each competitor's at 95 % under every condition, and in the last line how many of the tuned or default ones are dearer."""
    of = {(one.policy, one.tier, one.cell.condition): one.interval for one in _like(made, cell)}
    names = ["", *_conditions(made, cell)]
    peers = [key for key in dict.fromkeys((policy, tier) for policy, tier, _ in of) if all((*key, name) in of for name in names)]
    for policy, tier in peers:
        yield [policy, tier_name(policy, tier), *(times(of[policy, tier, name]) for name in names)]
    if peers:
        yield [JEVONS, "is cheaper than", *(f"{sum(_cheaper(of[policy, tier, name]) for policy, tier in peers)} of {len(peers)}" for name in names)]


def _cheaper(ratio: Interval) -> bool:
    return ratio.value < 1.0


def _like(made: Iterable[Ratio], cell: Cell) -> Iterator[Ratio]:
    """At 95 %, worst windows binding, of the same trace, fleet and startup time; foresight has no part in this."""
    key = (cell.trace, cell.fleet, cell.startup_s)
    for one in made:
        if (
            (one.cell.trace, one.cell.fleet, one.cell.startup_s) == key
            and one.target == SHOWN
            and one.worst_window
            and isinstance(one.tier, Tier)
            and not one.cell.own_dispatcher
        ):
            yield one


def _conditions(made: Iterable[Ratio], cell: Cell) -> list[str]:
    return list(dict.fromkeys(one.cell.condition for one in _like(made, cell) if one.cell.condition))
