"""Classes and score bins that are so much alike that a programme may choose for them together.

Classes are made one where they are scored alike and promised alike, and cost the same multiple of each other on every variant, within a factor: what
is right for one is about right for the other. Bins are made one where they are neighbours. A plan for what was made one is a plan for its parts, and
they have the same replicas; the shares are chosen apart again afterwards (`programme.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from jevons.core.statement import NEVER, Group, mean

FACTORS = (1.1, 1.25, 1.5)
"""Tried in turn, until there are few enough."""
LEAST_CELLS = 2


def gathered(groups: Sequence[Group], most: int) -> tuple[tuple[Group, ...], tuple[int, ...]]:
    """Classes with about `most` bins in all, and for each class given which of them it is part of."""
    found, of = tuple(groups), tuple(range(len(groups)))
    for factor in FACTORS:
        if _bins(found) <= most:
            return found, of
        found, of = _together(groups, math.log(factor))
    cells = max([len(group.weights) for group in found], default=0)
    while cells > LEAST_CELLS and sum([min(cells, len(group.weights)) for group in found]) > most:
        cells -= 1
    return tuple([_merged(group, cells) for group in found]), of


def _bins(groups: Sequence[Group]) -> int:
    return sum([len(group.weights) for group in groups])


def _together(groups: Sequence[Group], near: float) -> tuple[tuple[Group, ...], tuple[int, ...]]:
    """Each class beside the first that it is like."""
    parts: list[list[Group]] = []
    of = []
    for group in groups:
        at = next((index for index, some in enumerate(parts) if _alike(some[0], group, near)), len(parts))
        if at == len(parts):
            parts.append([])
        parts[at].append(group)
        of.append(at)
    return tuple([_one(some) for some in parts]), tuple(of)


def _alike(one: Group, other: Group, near: float) -> bool:
    """Whether `other` may be chosen for with `one`."""
    if one.waiting_usd_per_h is not None or other.waiting_usd_per_h is not None:
        return False
    if (one.weights, one.right, one.target, bool(one.late)) != (other.weights, other.right, other.target, bool(other.late)):
        return False
    if [work < NEVER for work in one.work] != [work < NEVER for work in other.work]:
        return False
    ratios = [math.log(theirs / mine) for mine, theirs in zip(one.work, other.work, strict=True) if mine < NEVER and mine > 0.0 < theirs]
    return not ratios or max(ratios) - min(ratios) <= near


def _one(groups: Sequence[Group]) -> Group:
    """All of them as one class; what is late costs their mean, by work."""
    first = groups[0]
    if len(groups) == 1:
        return first
    work = tuple([sum([group.work[index] for group in groups]) for index in range(len(first.work))])
    late = tuple(
        [
            mean([group.late[index] for group in groups], [group.work[index] if group.work[index] < NEVER else 1.0 for group in groups])
            for index in range(len(first.late))
        ]
    )
    return replace(first, work=work, late=late)


def _merged(group: Group, cells: int) -> Group:
    """The class with so many bins at most, neighbours made one."""
    many = len(group.weights)
    if many <= cells:
        return group
    cut = [range(cell * many // cells, (cell + 1) * many // cells) for cell in range(cells)]
    weights = [sum([group.weights[bin_] for bin_ in cell]) for cell in cut]
    right = [tuple([mean([row[bin_] for bin_ in cell], [group.weights[bin_] for bin_ in cell]) for cell in cut]) for row in group.right]
    return replace(group, weights=tuple(weights), right=tuple(right))
