"""What a system costs at an attainment: settings of one knob are points (attainment, cost); between the best of them we go in a straight line.

A ratio of cost and met answers would reward shedding, so systems are compared at equal attainment. A point counts for attainment A only when its
worst 10-minute window and its worst class reach A - 0.10: its *effective* attainment is min(attainment, worst + 0.10).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jevons.simulator.scenario import Floats

SLACK = 0.10
TARGETS = (0.90, 0.95, 0.99)


def effective(attainment: Floats, worst: Floats) -> Floats:
    """The largest A that a point counts for, without `SLACK` never more than its attainment."""
    return np.minimum(attainment, worst + SLACK)


def pareto(attainment: Floats, cost: Floats) -> NDArray[np.int64]:
    """Indices of the points that no other beats in both, from the lowest attainment to the highest.

    Example: (0.9, 5), (0.8, 6), (0.95, 7) -> the first and the third.
    """
    order = np.lexsort((-attainment, cost))
    kept, best = [], -np.inf
    for index in order:
        if np.isfinite(cost[index]) and attainment[index] > best:
            kept.append(int(index))
            best = attainment[index]
    return np.array(kept, np.int64)


def cost_at(attainment: Floats, cost: Floats, target: float) -> Floats:
    """Cost at `target` on the front of the points along the last axis, by linear interpolation; NaN = unreached.

    Below the lowest point of the front it is that point's cost: less attainment is not for sale there.
    Example: (0.8, 4) and (1.0, 8) at 0.9 -> 6 (test_protocol_front.py::test_worked_example).
    """
    cost = np.where(np.isfinite(attainment), cost, np.inf)
    above = attainment >= target
    right = np.where(above, cost, np.inf).min(axis=-1, keepdims=True)
    right_at = np.where(above & (cost == right), attainment, -np.inf).max(axis=-1)
    below = (attainment < target) & (cost < right)
    left_at = np.where(below, attainment, -np.inf).max(axis=-1, keepdims=True)
    left = np.where(below & (attainment == left_at), cost, np.inf).min(axis=-1)
    right, left_at = right[..., 0], left_at[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (target - left_at) / (right_at - left_at)
        between = left + share * (right - left)
    answer = np.where(np.isfinite(left), between, right)
    return np.where(np.isfinite(right), answer, np.nan)


def neighbours(attainment: Floats, cost: Floats, target: float) -> tuple[int, int] | None:
    """Indices of the two points that `cost_at` goes between (the same twice where it is one point); None = unreached."""
    front = pareto(attainment, cost)
    reached = [int(index) for index in front if attainment[index] >= target]
    if not reached:
        return None
    short = [int(index) for index in front if attainment[index] < target]
    return (short[-1] if short else reached[0]), reached[0]
