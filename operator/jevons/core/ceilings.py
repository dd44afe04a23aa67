"""Admins' ceilings: how many accelerators of a class all deployments may hold together, by its `limit` and by its power, whatever demand asks for.

Nodes are no ceiling (they may come when a pod asks for one), and plans are made one deployment at a time. So once all are made, what they ask of a
class is added up, and beyond the ceiling replicas go until the rest fits, in the order of budgets (`budget.shed`): those that nobody needs now, then
second replicas before last ones, low priority before high, those that would have to start before those that run, and of the largest fleet first.
What is not ours to move only counts, and nothing that runs goes while nothing may go down. A replica starts when there is room for it beside
everything that holds an accelerator, pods on their way out included.

Power counts as accelerators (`powered`). Where nobody states what one draws at its peak, the most that is seen to be drawn now holds back starts
alone: no reading takes what runs.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass

from jevons.core.facts import ABSENT, Facts
from jevons.core.funding import Funded
from jevons.core.observed import Known
from jevons.core.plan import VariantPlan
from jevons.core.snapshot import Inventory, Snapshot
from jevons.core.spec import AcceleratorClass, Key

NO_NODES = Inventory(0, 0, 0)
WATTS_STEP = 50.0
REASON = "AcceleratorLimit"
UNASKED = {"IdleSoon", "Prewarm", "Sleep", "Asleep"}
"""Reasons of replicas that nobody needs now."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """How many accelerators of one class our deployments may hold. `firm`: what runs beyond it goes; else only starts are held back."""

    accelerator: str
    most: int
    firm: bool
    why: str
    """For a sentence that begins with the class."""


@dataclass(slots=True)
class Line:
    """One variant's replicas under a ceiling, `least` of which stay in any case; `alive` and `leaving`: its pods."""

    owner: str
    funded: Funded
    item: VariantPlan
    least: int
    alive: int
    leaving: int

    @property
    def units(self) -> int:
        """Accelerators of one replica."""
        return self.item.facts.spec.accelerator_count

    @property
    def held(self) -> int:
        """Accelerators that it holds while the change is under way."""
        return self.units * (max(self.item.replicas, self.alive) + self.leaving)

    def order(self) -> tuple[bool, bool, int, bool, int, str, str]:
        """Whoever has the lowest lets the next replica go."""
        item, count, seen = self.item, self.item.replicas, self.item.facts.seen
        return (
            count <= item.need + seen.unseen + seen.borrowed and item.reason not in UNASKED,
            count <= 1,
            self.funded.facts.spec.priority,
            count <= item.facts.current,
            -count * self.units,
            self.owner,
            item.facts.spec.name,
        )


def hold(snapshot: Snapshot, planned: Mapping[Key, Funded | str]) -> None:
    """Take from the plans, in place, what no ceiling bears. Where there is none, or all fits, nothing changes."""
    for ceiling in ceilings(snapshot):
        lines, taken = _lines(ceiling, snapshot, planned)
        wished = [line.item.replicas for line in lines]
        _fit(lines, ceiling.most - taken)
        for line, wanted in zip(lines, wished, strict=True):
            if line.item.replicas < wanted:
                line.item.reason, line.item.sleepers = REASON, min(line.item.sleepers, line.item.replicas)
                line.funded.limited[line.item.facts.spec.name] = f"{ceiling.accelerator}: {ceiling.why}"
                line.funded.plan.binding.append(f"AcceleratorClass {ceiling.accelerator}: {ceiling.why}")


def ceilings(snapshot: Snapshot) -> list[Ceiling]:
    """Those there are now, firm ones first."""
    found, ours = [], None
    for name, accelerator in snapshot.accelerators.items():
        if accelerator.limit is not None:
            found.append(Ceiling(name, accelerator.limit, True, f"no more than {accelerator.limit} by its limit"))
        if accelerator.limit_watts is None:
            continue
        ours = total(held(snapshot)) if ours is None else ours
        if (most := powered(snapshot, accelerator, ours)) is not None:
            why = f"no more than {most} by its power of {accelerator.limit_watts:.0f} W"
            found.append(Ceiling(name, most, accelerator.peak_watts is not None, why))
    return sorted(found, key=lambda ceiling: not ceiling.firm)


def room(snapshot: Snapshot) -> dict[str, int]:
    """Accelerators by class that may still be started under the ceilings, beside what is there or ordered; a class without a ceiling is left out."""
    found: dict[str, int] = {}
    for ceiling in ceilings(snapshot):
        found[ceiling.accelerator] = min(ceiling.most, found.get(ceiling.accelerator, ceiling.most))
    for state in snapshot.deployments.values() if found else ():
        for variant in state.spec.variants:
            seen = state.variants.get(variant.name)
            if seen is not None and variant.accelerator_class in found and not seen.target.paid_elsewhere:
                found[variant.accelerator_class] -= variant.accelerator_count * max(seen.target.replicas or 0, len(seen.pods))
    return found


def narrow(facts: Facts, left: Mapping[str, int]) -> None:
    """Let requests wait for no variant that has no room for a first replica, where another one can serve them. left: `room`."""
    full = [
        variant
        for variant in facts.variants
        if variant.usable
        and not variant.seen.ready
        and not variant.current
        and left.get(variant.spec.accelerator_class, variant.spec.accelerator_count) < variant.spec.accelerator_count
    ]
    if len(full) < sum([variant.usable for variant in facts.variants]):
        for variant in full:
            variant.usable = False


def held(snapshot: Snapshot) -> dict[Key, dict[str, int]]:
    """Accelerators by class that the pods of every deployment hold, or will when they are placed."""
    found: dict[Key, dict[str, int]] = {}
    for key, state in snapshot.deployments.items():
        units: dict[str, int] = {}
        for variant in state.spec.variants:
            seen = state.variants.get(variant.name)
            if seen is not None and not seen.target.paid_elsewhere:
                units[variant.accelerator_class] = units.get(variant.accelerator_class, 0) + variant.accelerator_count * len(seen.pods)
        found[key] = units
    return found


def nodes(snapshot: Snapshot, name: str) -> Inventory:
    """What is seen of the class's nodes; none where they cannot be seen."""
    inventory = snapshot.inventory.get(name)
    return inventory.value if isinstance(inventory, Known) and inventory.value.nodes > 0 else NO_NODES


def total(holds: Mapping[Key, Mapping[str, int]]) -> dict[str, int]:
    """Accelerators by class that all of ours hold."""
    found: dict[str, int] = {}
    for units in holds.values():
        for name, count in units.items():
            found[name] = found.get(name, 0) + count
    return found


def others(snapshot: Snapshot, name: str, ours: Mapping[str, int]) -> int:
    """Accelerators on the class's nodes that pods of nobody here hold."""
    return max(0, nodes(snapshot, name).allocated - ours.get(name, 0))


def powered(snapshot: Snapshot, accelerator: AcceleratorClass, ours: Mapping[str, int]) -> int | None:
    """How many accelerators of ours may work at once under the class's power limit; None = it has none, or nobody knows what one draws.

    ours: `total` of what they hold now. One that works is counted at its peak, or else at the most that any is seen to draw; the others on its nodes
    at what they draw idle. Example:
    10 kW, 400 W at work and 60 W idle, 40 on its nodes -> (10,000 - 40 * 60) / 340 = 22 (test_steering.py::test_power_bounds_what_may_work_at_once).
    """
    if accelerator.limit_watts is None:
        return None
    peak, idle = accelerator.peak_watts or _drawn(snapshot, accelerator.name), accelerator.idle_watts or 0.0
    if not peak:
        return None
    idle, there = min(idle, 0.99 * peak), nodes(snapshot, accelerator.name).allocatable
    bound = math.floor((accelerator.limit_watts - idle * there) / (peak - idle if there else peak) + 1e-9)
    return max(0, bound - others(snapshot, accelerator.name, ours))


def _drawn(snapshot: Snapshot, name: str) -> float:
    """The most that an accelerator of the class is seen to draw [W]; in steps, so that plans do not flap with every reading."""
    found = 0.0
    for state in snapshot.deployments.values():
        for variant in state.spec.variants:
            if variant.accelerator_class == name and variant.name in state.variants:
                for pod in state.variants[variant.name].pods:
                    watts = pod.signals.power_watts
                    if isinstance(watts, Known) and 0.0 < watts.value < math.inf:
                        found = max(found, watts.value / variant.accelerator_count)
    return WATTS_STEP * math.ceil(found / WATTS_STEP)


def _lines(ceiling: Ceiling, snapshot: Snapshot, planned: Mapping[Key, Funded | str]) -> tuple[list[Line], int]:
    """The variants on the class, and the accelerators that objects without a plan hold. Pods of a target that another object holds are that one's."""
    lines, taken = [], 0
    for key, state in snapshot.deployments.items():
        funded = planned[key]
        if isinstance(funded, str):
            mine = [variant for variant in state.spec.variants if variant.accelerator_class == ceiling.accelerator and variant.name in state.variants]
            taken += sum([variant.accelerator_count * len(state.variants[variant.name].pods) for variant in mine])
            continue
        for item in funded.plan.variants:
            variant = item.facts
            if variant.spec.accelerator_class == ceiling.accelerator and not variant.target.paid_elsewhere:
                pods = state.variants.get(variant.spec.name, ABSENT).pods
                leaving, stays = sum([pod.terminating for pod in pods]), not ceiling.firm or bool(funded.facts.no_down)
                least = item.replicas if variant.fixed else min(item.replicas, variant.current) if stays else 0
                lines.append(Line(str(key), funded, item, least, len(pods) - leaving, leaving))
    return lines, taken


def _fit(lines: list[Line], most: int) -> None:
    """Let replicas go until what is asked for fits, and then starts for which what is still held leaves no room."""
    asked = sum([line.units * line.item.replicas for line in lines])
    _let_go(lines, [line.least for line in lines], asked - most)
    _let_go(lines, [max(line.least, line.item.facts.current, line.alive) for line in lines], sum([line.held for line in lines]) - most)


def _let_go(lines: list[Line], least: list[int], excess: int) -> None:
    """One replica after another, until `excess` accelerators went or every line is down to its least."""
    queue = [(line.order(), index) for index, line in enumerate(lines) if line.item.replicas > least[index]] if excess > 0 else []
    heapq.heapify(queue)
    while excess > 0 and queue:
        _, index = heapq.heappop(queue)
        line = lines[index]
        line.item.replicas -= 1
        excess -= line.units
        if line.item.replicas > least[index]:
            heapq.heappush(queue, (line.order(), index))
