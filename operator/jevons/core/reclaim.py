"""How often are spot replicas taken away, and how many more does keeping the promise take?

A spot pod that was there in the last pass and is not now, although nobody wanted fewer pods, was taken away (or its node, or its template was; that
cannot be told apart and counts alike). Losses over pod-hours, both decayed over a day, with a prior of a few hours' worth, are the variant's rate.

A lost pod is made again at once and is ready one start later, so at rate r [1/h] and a start of S hours each pod is missing for the part
p = r S / (1 + r S) of the time, and of n pods Binomial(n, p) are. As many are ordered as it takes to keep the mean shortfall small beside what the
promise leaves to be late.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import lru_cache

from jevons.core.health import Spot

PRIOR_PER_H, PRIOR_H = 0.02, 5.0
"""A node in 50 hours, believed as if seen for 5 pod-hours."""
MOST_PER_H = 6.0
MEMORY_S = 86_400.0
GAP_S = 300.0
"""After a longer time without a pass nobody knows who took what."""
WATCHED = 256
MANY = 500
"""Of more than that the mean alone counts: chance evens out, and the numbers of ways to lose some no longer fit a float."""
LATE_SHARE = 0.5
"""Of what the promise leaves to be late, missing replicas may take this part."""


def observed(old: Spot | None, uids: tuple[str, ...], pods: int, wanted: int, now: float, *, ours: int = 0) -> Spot | None:
    """The evidence after a pass that sees the spot pods `uids` among `pods` that are not on their way out, of `wanted` by the spec.

    ours: pods that we evicted since the last one.
    """
    if old is None:
        return Spot(uids[:WATCHED], pods, now) if uids else None
    elapsed_s = now - old.at_s
    if not 0.0 < elapsed_s <= GAP_S:
        return Spot(uids[:WATCHED], pods, now, old.pod_hours, old.losses)
    fade = math.exp(-elapsed_s / MEMORY_S)
    pod_hours, losses = old.pod_hours * fade + len(old.uids) * elapsed_s / 3600.0, old.losses * fade
    if uids != old.uids:
        losses += max(0, _gone(old.uids, set(uids)) - max(0, old.pods - wanted) - ours)
    return Spot(uids[:WATCHED], pods, now, pod_hours, losses)


def _gone(before: tuple[str, ...], uids: Collection[str]) -> int:
    return sum(uid not in uids for uid in before)


def per_h(spot: Spot | None) -> float:
    """How often one spot pod of the variant is taken away [1/h]; 0 where there are none.

    Example: 4 losses in 15 pod-hours, beside a prior of 0.1 in 5 -> 0.205/h (test_reclaim.py::test_losses_over_pod_hours).
    """
    if spot is None or not spot.uids:
        return 0.0
    return min(MOST_PER_H, (PRIOR_PER_H * PRIOR_H + spot.losses) / (PRIOR_H + spot.pod_hours))


def missing_share(spot: Spot | None, startup_s: float) -> float:
    """The part of the time that a replica of the variant is missing, to two digits; pods that are not spot are never."""
    rate = per_h(spot)
    if spot is None or rate <= 0.0:
        return 0.0
    away = rate * startup_s / 3600.0
    return float(f"{away / (1.0 + away) * min(1.0, len(spot.uids) / max(1, spot.pods)):.2g}")


@lru_cache(maxsize=4096)
def ordered(need: int, missing: float, late_share: float) -> int:
    """Replicas to order so that `need` are there, but for a mean shortfall of LATE_SHARE of `late_share` of them.

    Example: 3 needed, each missing 5 % of the time, 5 % may be late: 3 would be short by 5 %, 4 by 0.5 % -> 4
    (test_reclaim.py::test_spare_replicas_for_those_that_are_taken).
    """
    if need > MANY:
        return min(2 * need, max(need, math.ceil(need * (1.0 - LATE_SHARE * late_share) / max(0.5, 1.0 - missing))))
    count = need
    while need and count < 2 * need and _shortfall(need, count, missing) > LATE_SHARE * late_share:
        count += 1
    return count


def _shortfall(need: int, count: int, missing: float) -> float:
    """Mean of what is missing from `need`, as a share, when each of `count` is missing by itself."""
    return (
        sum(
            (gone - (count - need)) * math.comb(count, gone) * missing**gone * (1.0 - missing) ** (count - gone)
            for gone in range(count - need + 1, count + 1)
        )
        / need
    )
