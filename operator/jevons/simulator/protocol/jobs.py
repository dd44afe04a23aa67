"""One job: one competitor, some of its settings, one seed's window. A plain function of a plain description, for any pool of processes.

Nothing is shared but the folder of traces, so results do not depend on which process does what, or in which order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from jevons.simulator.protocol import foresight, foresight_mixed, mixed, policies
from jevons.simulator.protocol.cell import Cell, scenario
from jevons.simulator.protocol.figures import Figures, figures
from jevons.simulator.protocol.front import TARGETS
from jevons.simulator.protocol.reference import Bound, c_lo, lp, scored_misses
from jevons.simulator.protocol.router import alone, routed_world
from jevons.simulator.protocol.splits import Window
from jevons.simulator.scenario import Scenario
from jevons.simulator.traces import Trace, survey
from jevons.simulator.traces_synthetic import Synthetic, shapes
from jevons.simulator.world import simulate


@dataclass(frozen=True, slots=True)
class Job:
    """Run `settings` of `policy` on a cell's window. `data`: the folder of traces."""

    data: Path
    cell: Cell
    window: Window
    policy: str
    settings: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class BoundJob:
    """Compute the lower bounds of a cell's window."""

    data: Path
    cell: Cell
    window: Window


@dataclass(frozen=True, slots=True)
class Bounds:
    """Per target of `TARGETS`."""

    lp: tuple[Bound, ...]
    c_lo: tuple[Bound, ...]


def run(job: Job) -> tuple[Figures, ...]:
    """Figures per setting."""
    if job.policy in policies.ARMS:
        return tuple(_arm(job, setting) for setting in job.settings)
    world = world_of(job.data, job.cell, job.window)
    if job.cell.own_dispatcher:
        world = replace(world, dispatch=policies.DISPATCHERS.get(job.policy, world.dispatch))
    if job.policy == policies.FORESIGHT:
        planned = foresight_mixed.controllers if job.cell.mix else foresight.controllers
        return tuple(figures(world, simulate(world, one)) for one in planned(world, job.settings))
    entrants = (mixed.entrant(world, job.policy, setting) for setting in job.settings)
    return tuple(figures(own, simulate(own, one)) for own, one in entrants)


def _arm(job: Job, setting: policies.Routed) -> Figures:
    """Of an arm that answers some requests wrong."""
    made = routed_world(world_of(job.data, job.cell, job.window), job.cell, setting.router)
    if job.policy == policies.LARGE:
        made = replace(made, scenario=alone(made.scenario))
    outcome = simulate(made.scenario, policies.arm(made, job.policy, setting))
    return figures(made.scenario, outcome, right=made.right)


def bound(job: BoundJob) -> Bounds:
    """Both lower bounds."""
    world = world_of(job.data, job.cell, job.window)
    missed = scored_misses(world)
    return Bounds(tuple(lp(world, target) for target in TARGETS), tuple(c_lo(world, target, missed) for target in TARGETS))


def work(job: Job | BoundJob) -> tuple[Figures, ...] | Bounds:
    """Either kind."""
    return run(job) if isinstance(job, Job) else bound(job)


@lru_cache(maxsize=1)
def _survey(folder: Path) -> tuple[dict[str, Trace], tuple[str, ...]]:
    return survey(folder)


def traces_of(folder: Path) -> dict[str, Trace | Synthetic]:
    """The folder's traces, read once per process, and the shapes that need no folder; a trace of a shape's name goes before it."""
    return shapes() | _survey(folder)[0]


def complaints_of(folder: Path) -> tuple[str, ...]:
    """A sentence for every file of the folder that could not be read."""
    return tuple(f"left out: {one}" for one in _survey(folder)[1])


@lru_cache(maxsize=6)
def world_of(folder: Path, cell: Cell, window: Window) -> Scenario:
    """The scenario of a window; the last few are kept."""
    return scenario(traces_of(folder)[cell.trace], cell, window)
