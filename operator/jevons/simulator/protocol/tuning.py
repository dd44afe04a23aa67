"""The two tuned tiers: a peer's grid on the part for tuning, halved by what short runs show.

Every setting is a point (attainment, cost) per window. For a target A a setting is worth cost x exp(PENALTY x what it lacks of A): a setting that is
short of A by 0.05 must be 2.7 times cheaper to be kept. The settings kept are the best for each target in turn, so that one that is good at 0.99
is not lost to those that are good at 0.90.

this-trace: by the windows of the trace itself. other-traces: by the geometric mean of costs relative to each trace's best, over all others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jevons.simulator.protocol.figures import Figures
from jevons.simulator.protocol.front import TARGETS, effective
from jevons.simulator.scenario import Floats

PENALTY = 20.0
KEPT_SHARE = 1 / 3


def scores(runs: Sequence[Sequence[Figures]]) -> Floats:
    """[targets, settings]: log of the penalised cost of `runs[setting][window]`, lower is better, 0 = the best setting of the target."""
    attainment = np.array([[np.mean([one.attainment for one in windows]), np.mean([one.worst for one in windows])] for windows in runs])
    cost = np.array([np.mean([one.usd_per_1k_offered for one in windows]) for windows in runs])
    reached = effective(attainment[:, 0], attainment[:, 1])
    table = np.array([np.log(np.maximum(cost, 1e-9)) + PENALTY * np.maximum(0.0, target - reached) for target in TARGETS])
    return np.asarray(table - table.min(axis=1, keepdims=True), np.float64)


def keep(table: Floats, count: int) -> list[int]:
    """Indices of `count` settings (or all there are): the best of each target in turn, then the second best, and so on.

    Example: two targets whose orders are (0, 1, 2) and (2, 1, 0), two to keep -> 0 and 2.
    """
    orders = np.argsort(table, axis=1, kind="stable")
    kept: list[int] = []
    for place in range(table.shape[1]):
        for order in orders:
            if len(kept) < min(count, table.shape[1]) and int(order[place]) not in kept:
                kept.append(int(order[place]))
    return kept


def survivors(count: int, *, at_least: int) -> int:
    """How many of `count` settings a round keeps."""
    return min(count, max(at_least, round(count * KEPT_SHARE)))


def first_round(runs: int, *, at_least: int) -> int:
    """The most settings of a first round so that it and what `survivors` keeps of it are within `runs`. Example: 200 runs -> 150, and 50 again."""
    return max(count for count in range(1, runs + 1) if count == 1 or count + survivors(count, at_least=at_least) <= runs)


def elsewhere(tables: Sequence[Floats]) -> Floats:
    """Scores by all other traces together: the mean of theirs."""
    return np.asarray(np.mean(tables, axis=0), np.float64)
