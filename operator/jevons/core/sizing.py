"""How many replicas does this much work need, where no profile says what a replica can do?

(With a profile, see `usable.py`.) Work is requests in flight over those that one replica was seen to run without a queue. Arrivals are random, so a
fleet sized for the mean is late half of the time; the spare part shrinks with the fleet (the standard deviation of `n` requests in flight is about
sqrt(n)). Where an engine exposes no queue either, GPU utilisation against a target is the signal.
"""

# ruff: noqa: FURB136  max costs eight times what a comparison does
from __future__ import annotations

import math
from decimal import Decimal
from functools import lru_cache
from statistics import NormalDist

AUTO_LATE_FACTOR = 10.0
"""lateAnswerCost Auto: ten times what one request costs."""
UTIL_TARGET = 0.7
"""Utilisation that a replica without queue metrics is sized for."""
UTIL_TOLERANCE = 0.1
"""Within this of the target nothing moves."""


@lru_cache(maxsize=256)
def headroom_quantile(percentile: float, pressure: float) -> float:
    """Standard deviations of spare capacity: the objective's percentile, shrinking to none as budget `pressure` (0..1) grows.

    Example: percentile 95 without pressure -> 1.645 (test_worked_examples.py::test_headroom_shrinks_with_the_fleet).
    """
    spread = NormalDist().inv_cdf(min(0.999, max(0.5, percentile / 100.0)))
    return spread * (1.0 - min(1.0, max(0.0, pressure)))


def replicas_for(work: float, concurrency: float, quantile: float) -> int:
    """Fewest replicas for `work` (in replicas) of which each runs `concurrency` requests at once, with `quantile` standard deviations to spare.

    Zero work needs zero replicas, any work at least one.
    Example: work 2.0 at concurrency 16 and quantile 1.645 -> 2 + 1.645 * sqrt(2 / 16) = 2.58 -> 3
    (test_worked_examples.py::test_headroom_shrinks_with_the_fleet).
    """
    if work <= 0.0:
        return 0
    count = math.ceil(work + quantile * math.sqrt(work / (concurrency if concurrency > 1.0 else 1.0)) - 1e-9)
    return count if count > 1 else 1


def late_loss_s(late_cost_usd: Decimal | None, usd_per_h: float | None, per_s: float) -> float:
    """What one late answer costs, in seconds of a replica's price; Auto (None), or without a price: AUTO_LATE_FACTOR times what a request costs.

    per_s: what a replica serves [1/s]. Example: 0.01 USD at 3.6 USD/h -> 10 s; Auto at 2/s -> 5 s
    (test_worked_examples.py::test_a_late_answer_in_seconds_of_a_replica).
    """
    if late_cost_usd is None or not usd_per_h or not late_cost_usd.is_finite():
        return AUTO_LATE_FACTOR / per_s
    return max(0.0, float(late_cost_usd)) * 3600.0 / usd_per_h


def replicas_for_utilisation(utils: list[float], current: int) -> int:
    """Replicas that bring mean GPU utilisation (0..1, one per seen replica) to the target; `current` while it is within the tolerance.

    Example: two replicas at 0.95 -> ceil(1.9 / 0.7) = 3 (test_scaling.py::test_utilisation_alone_changes_the_decision_where_no_queue_is_exposed).
    """
    if not utils:
        return current
    if abs(sum(utils) / len(utils) / UTIL_TARGET - 1.0) <= UTIL_TOLERANCE:
        return current
    return math.ceil(sum(utils) / UTIL_TARGET - 1e-9)
