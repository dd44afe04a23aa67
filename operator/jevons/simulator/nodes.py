"""Accelerators in a simulated cluster: how many exist, how many are taken, how many are on their way.

Only counts per class, as a scheduler sees them that never leaves a hole: which node a replica lands on makes no difference here. A class that the
scenario's inventory does not name is without bound. Nodes that were made stay: nobody pays for them (replicas are paid for from scheduled to gone),
and what is there need not be provisioned twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from jevons.simulator.scenario import Scenario, SimVariant


class Nodes:
    """The counts. `started` are the variants' initial replicas, for which there is room from the beginning.

    Raises ValueError when the inventory does not have as many accelerators as the initial replicas hold.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._bound: dict[str, float] = dict(scenario.inventory)
        self.provisioning_s = scenario.provisioning_s
        self._free_at_start = scenario.free_at_start
        self._taken: dict[str, int] = {}
        self._exist: dict[str, float] = {}
        self._coming: dict[str, int] = {}
        for variant in scenario.variants:
            self._taken[variant.accelerator] = self._taken.get(variant.accelerator, 0) + variant.initial_replicas * variant.accelerators
        for accelerator, held in self._taken.items():
            bound = self.bound(accelerator)
            if held > bound:
                raise ValueError(f"inventory: {bound} {accelerator} are fewer than the {held} that the initial replicas hold")
            there = bound if scenario.free_at_start is None else min(bound, scenario.free_at_start)
            self._exist[accelerator] = max(there, held)
            self._coming[accelerator] = 0

    def bound(self, accelerator: str) -> float:
        """The most there can ever be of a class."""
        return self._bound.get(accelerator, math.inf)

    def exist(self, accelerator: str) -> float:
        """Accelerators on nodes that are there."""
        return self._exist[accelerator]

    def taken(self, accelerator: str) -> int:
        """Accelerators that replicas hold."""
        return self._taken[accelerator]

    def shrink(self, accelerator: str, left: float) -> Mapping[str, float]:
        """Of the accelerators that replicas hold only this part (0..1) exists any more, and no other; how many there could be before.

        Until as many replicas are gone as must be, more are taken than there are.
        """
        before = {accelerator: self._bound[accelerator]} if accelerator in self._bound else {}
        self._bound[accelerator] = self._exist[accelerator] = math.floor(left * self._taken[accelerator] + 1e-9)
        return before

    def restore(self, accelerator: str, before: Mapping[str, float]) -> None:
        """There may be as many as before; nodes that were there from the start are there again."""
        del self._bound[accelerator]
        self._bound.update(before)
        if self._free_at_start is None:
            self._exist[accelerator] = self.bound(accelerator)

    def take(self, variant: SimVariant) -> bool:
        """Room for one replica; False when there is none now."""
        accelerator, count = variant.accelerator, variant.accelerators
        if self._taken[accelerator] + count > self._exist[accelerator]:
            return False
        self._taken[accelerator] += count
        return True

    def give(self, variant: SimVariant, *, node_lost: bool = False) -> None:
        """A replica is gone, and with it its node when that was taken away."""
        self._taken[variant.accelerator] -= variant.accelerators
        if node_lost:
            self._exist[variant.accelerator] -= variant.accelerators

    def order(self, variant: SimVariant) -> bool:
        """A node for one replica, there after `provisioning_s`; False when the inventory is used up."""
        accelerator, count = variant.accelerator, variant.accelerators
        if self._exist[accelerator] + self._coming[accelerator] + count > self.bound(accelerator):
            return False
        self._coming[accelerator] += count
        return True

    def arrive(self, variant: SimVariant) -> None:
        """A node that was ordered is there."""
        self._coming[variant.accelerator] -= variant.accelerators
        self._exist[variant.accelerator] += variant.accelerators
