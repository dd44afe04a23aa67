"""The settings of a peer that a benchmark may tune, as data.

An `Axis` varies one field, or several that belong together (a target means nothing without its signal). A `Grid` is the product of its axes over a
base of documented defaults, at most 200 runs (benchmarks B1); `knob` is the one field that trades cost against attainment, swept for the Pareto
front, by factors on the value it has.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from jevons.simulator.policies.policy import Signal

MOST_RUNS = 200

SettingsT = TypeVar("SettingsT")


@dataclass(frozen=True, slots=True)
class Axis:
    """`fields` take the values of one row of `rows` together."""

    fields: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def axis(field: str, *values: Any) -> Axis:
    """An axis of a single field."""
    return Axis((field,), tuple((value,) for value in values))


@dataclass(frozen=True, slots=True)
class Grid:
    """Axes to combine, and the `knob` with the `factors` its value is multiplied by for a Pareto front. Raises ValueError above 200 combinations."""

    axes: tuple[Axis, ...]
    knob: str
    factors: tuple[float, ...] = (0.25, 0.4, 0.6, 0.8, 1.0, 1.25, 1.6, 2.5, 4.0)

    def __post_init__(self) -> None:
        if len(self) > MOST_RUNS:
            raise ValueError(f"axes: {len(self)} combinations are above {MOST_RUNS}; take rows away")

    def __len__(self) -> int:
        return math.prod(len(one.rows) for one in self.axes)

    def settings(self, base: SettingsT) -> Iterator[SettingsT]:
        """`base` (a frozen dataclass) with every combination of the axes."""
        for rows in itertools.product(*(one.rows for one in self.axes)):
            changes = {field: value for one, row in zip(self.axes, rows, strict=True) for field, value in zip(one.fields, row, strict=True)}
            yield dataclasses.replace(base, **changes)  # type: ignore[type-var]

    def front(self, base: SettingsT) -> Iterator[SettingsT]:
        """`base` with its knob at every factor. Whole numbers stay whole and at least 1."""
        for factor in self.factors:
            value = getattr(base, self.knob)
            scaled: Any = max(1, round(value * factor)) if isinstance(value, int) else value * factor
            yield dataclasses.replace(base, **{self.knob: scaled})  # type: ignore[type-var]


SIGNAL_AND_TARGET = Axis(
    ("signal", "target"),
    (
        *((Signal.IN_FLIGHT, value) for value in (8.0, 16.0, 32.0, 64.0)),
        *((Signal.WAITING, value) for value in (1.0, 2.0, 5.0, 10.0)),
        *((Signal.KV, value) for value in (0.3, 0.5, 0.65, 0.8)),
        *((Signal.TOKENS, value) for value in (20_000.0, 60_000.0, 150_000.0, 300_000.0)),
    ),
)
"""The signal and what one replica should have of it; for every peer that lets its users choose."""
