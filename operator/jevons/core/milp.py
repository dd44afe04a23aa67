"""A mixed integer linear programme as a value, and the port behind which somebody solves it.

Minimise cost * x subject to bounds on columns and rows; some columns are whole numbers. `core` states programmes and reads answers; what solves them
(`jevons.solver`, HiGHS) is handed in, so that the core stays without dependencies. A solver answers the same programme with the same numbers every
time: its limits are counted in work, not in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(slots=True)
class Model:
    """The programme, column by column and row by row."""

    cost: list[float] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    whole: list[bool] = field(default_factory=list)
    row_lower: list[float] = field(default_factory=list)
    row_upper: list[float] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    """Where each row's entries begin in `columns` and `values`."""
    columns: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    begin: list[tuple[int, float]] = field(default_factory=list)
    """Whole columns and values of a point that is likely to be good: what is worse need not be looked at."""

    def column(self, cost: float, *, lower: float = 0.0, upper: float = math.inf, whole: bool = False) -> int:
        """Add a variable; its index."""
        self.cost.append(cost)
        self.lower.append(lower)
        self.upper.append(upper)
        self.whole.append(whole)
        return len(self.cost) - 1

    def row(self, terms: Iterable[tuple[int, float]], *, lower: float = -math.inf, upper: float = math.inf) -> None:
        """Add lower <= sum of value * column <= upper."""
        self.starts.append(len(self.columns))
        for column, value in terms:
            self.columns.append(column)
            self.values.append(value)
        self.row_lower.append(lower)
        self.row_upper.append(upper)


@dataclass(frozen=True, slots=True)
class Answer:
    """A feasible point and its cost; `proven`: the best there is, else the best that was found with the work allowed."""

    values: tuple[float, ...]
    cost: float
    proven: bool = True


Solver: TypeAlias = Callable[[Model], Answer | None]
"""Solves a model; None = infeasible, unbounded, or more work than it is allowed. Never raises for a model's sake."""
