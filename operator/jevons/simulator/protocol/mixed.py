"""The scenario of several accelerators and precisions: one model as several variants, each at its own price, and everybody may use them all.

Jevons is given them as variants of one deployment. A peer knows no mix: it scales each variant by itself, all behind one endpoint that spreads
requests by capacity (`pool`, each Deployment begun with a replica; WVA adds its own preference for cheap ones). Or whoever sets it up chooses one
variant for it: when peers are tuned, which variant is an axis of the grid like any other, so that the tuned tiers run on the best one if that is
better than the pool.

All variants answer equally well here: what is compared is the price of serving, not quality. They start equally fast, in the cell's startup time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jevons.simulator import competitors
from jevons.simulator.protocol import policies
from jevons.simulator.protocol.cell import Cell
from jevons.simulator.scenario import Controller, Scenario

POOL = -1


@dataclass(frozen=True, slots=True)
class On:
    """A peer's settings, on one variant or on the `POOL` of all. variant: its place in the cell's mix, which has a meaning elsewhere too."""

    variant: int
    settings: Any


def front(policy: str, cell: Cell, *, every: int) -> tuple[Any, ...]:
    """Settings along a policy's knob from its defaults: peers on the pool; static fleets on each variant by itself, sized for it."""
    if not cell.mix or policy in (policies.JEVONS, *policies.ARMS):
        return policies.front(policy, needed=cell.needed, every=every)
    if policy != "static":
        return tuple(On(POOL, one) for one in policies.front(policy, every=every))
    return tuple(On(at, one) for at, needed in enumerate(needs(cell)) for one in policies.front(policy, needed=needed, every=every))


def grid(policy: str, cell: Cell) -> tuple[Any, ...]:
    """What may be tuned: the peer's grid, on the pool and on each variant."""
    if not cell.mix:
        return policies.grid(policy)
    return tuple(On(at, one) for at, one in itertools.product(range(POOL, len(cell.mix)), policies.grid(policy)))


def near(policy: str, settings: Sequence[Any], factors: Sequence[float]) -> tuple[Any, ...]:
    """Settings with their knob turned by each of `factors`."""
    made: list[Any] = []
    for one in settings:
        inner = policies.near(policy, [one.settings if isinstance(one, On) else one], factors)
        made.extend(On(one.variant, each) for each in inner) if isinstance(one, On) else made.extend(inner)
    return tuple(dict.fromkeys(made))


def described(cell: Cell, policy: str, setting: Any) -> str:
    """In words."""
    if isinstance(setting, On):
        where = "pool" if setting.variant == POOL else cell.mix[setting.variant].label
        return f"on {where}: {policies.described(policy, setting.settings)}"
    return policies.described(policy, setting)


def needs(cell: Cell) -> list[int]:
    """By variant of the mix, about how many replicas serve the trace alone: those of the cell's machine, by the work a request takes."""
    first = cell.mix[0]
    return [max(1, round(cell.needed * seconds(one, cell) / seconds(first, cell))) for one in cell.mix]


def seconds(machine: Any, cell: Cell) -> float:
    """Replica-seconds of the trace's mean request."""
    return float(machine.seconds(*cell.mean_tokens, cell.objectives.itl_s))


def entrant(world: Scenario, policy: str, setting: Any) -> tuple[Scenario, Controller]:
    """A fresh competitor, and the world as it has it."""
    if not isinstance(setting, On):
        return world, policies.controller(world, policy, setting)
    if setting.variant == POOL:
        begun = tuple(replace(variant, initial_replicas=max(1, variant.initial_replicas)) for variant in world.variants)
        world = replace(world, variants=begun)
        return world, competitors.peer(policy, world, setting.settings, pooled=True)
    chosen, first = world.variants[min(setting.variant, len(world.variants) - 1)], world.variants[0]
    begin = math.ceil(first.initial_replicas * chosen.max_replicas / first.max_replicas)
    alone = replace(world, variants=(replace(chosen, initial_replicas=int(np.clip(begin, 1, chosen.max_replicas))),))
    return alone, policies.controller(alone, policy, setting.settings)
