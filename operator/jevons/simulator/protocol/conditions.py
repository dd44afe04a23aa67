"""Does the ranking hold when the simulator's physics, or what Jevons was told of it, is wrong?

Everybody runs again on the same test windows with the settings chosen before: on replicas a fifth slower and faster than their profile says, on
another prefill chunk, and with Jevons' prior wrong by three either way (peers are told no prior, their runs stay). Nobody is told, nothing is tuned
anew. Rows of such runs begin their `setting` with the condition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from jevons.simulator.protocol.cell import Cell

SPEEDS = (0.8, 1.2)
"""Of a replica, over its profile's."""
CHUNKS = (512, 2048)
PRIORS = (3.0, 1.0 / 3.0)
"""Times the truth that Jevons is told an iteration takes."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A cell in which something is wrong. prior_scale: what Jevons is told, over the truth; None = as otherwise."""

    cell: Cell
    prior_scale: float | None = None


def own_dispatcher(cell: Cell) -> Condition:
    """Not wrong, but other: every system sends requests by its own dispatcher."""
    return Condition(replace(cell, condition="own dispatcher", own_dispatcher=True))


def conditions(cell: Cell) -> Iterator[Condition]:
    """All of them."""
    for speed in SPEEDS:
        yield Condition(replace(cell, condition=f"speed x{speed:g}", slowdown=cell.slowdown / speed))
    for chunk in CHUNKS:
        if chunk != cell.machine.profile.chunk_tokens:
            machine, *others = (replace(one, profile=replace(one.profile, chunk_tokens=chunk)) for one in (cell.machine, *cell.mix))
            yield Condition(replace(cell, condition=f"chunk {chunk}", machine=machine, mix=tuple(others)))
    for prior in PRIORS:
        yield Condition(replace(cell, condition=f"prior x{prior:.2g}"), prior)
