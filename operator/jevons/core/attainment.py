"""The price of lateness: is the promise kept, and how much more (or less) headroom does keeping it take?

A profile is a prior, and so is every assumption about lengths and bursts; what clients got is the truth. The share of useful answers against the
promised one is integrated, slowly, into `tight`: standard deviations of the load by which the fleet is larger (or smaller) than the model asks for.
It is the dual variable of the constraint "this share is inside its objectives". A miss counts for what it says: at 99 % one more deviation keeps
fewer requests than at 90 %, so the same missing share asks for more (`density`).

What is late while replicas start counts as well: more headroom would have borne it, and a promise is one over all requests. Integration stops where
no headroom can help (no wind-up): at replicas.max, where nothing is ready or no node comes, under budget pressure, while something is not known. It
is bounded, so that a lying counter moves the size by at most LOOSEST..TIGHTEST.

Sleep makes answers late as well, and objectives stand above `replicas.min` (api.md). A model that is called now and then costs the promise little:
what a cold start is worth by itself decides there (`moving.cold_loss_s`). One whose bursts of hundreds find nothing ready does break it, and headroom
is no answer to that. So the number of useful answers that are missing raises the price of a cold start (`dear`, in doublings), except for two kinds.
Answers of a model that has been loaded for long are not late because of a start: the share that is useful then (`kept`) is all that staying loaded
can keep, so a broken engine is not kept loaded for its failures. And a day takes one doubling off: a model that misses fewer than DOUBLED a day
sleeps as if it missed none.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

from jevons.core.memory import Attained
from jevons.core.observed import Known, Observed
from jevons.core.snapshot import Outcomes

GAIN = 0.05
REQUESTS = 500.0
"""What one deviation would keep, missing over so many requests, moves `tight` by GAIN. No reading says more: a gateway that is read again after a gap
brings all it ever counted."""
LOOSEST, TIGHTEST = -0.3, 3.0
STEP = 0.05
"""`tight` is used in steps of this, so that plans do not flap."""
DOUBLED = 125.0
"""So many useful answers fewer than promised double the price of a cold start, and so many more than promised halve that again."""
DEAREST = 6.0
HALVED_S = 86_400.0
"""So long halves it as well, and what is held against a model that failed while it was loaded."""
WARM_S = 600.0
"""What is answered so long after the last replica became ready has not waited for a start, nor stood in the queue behind one."""


def updated(
    old: Attained | None, outcomes: Observed[Outcomes], promised: float, *, settled: bool, able: bool = True, warm: bool = False
) -> Attained | None:
    """The dual after a reading of the gateway's counters; `promised` is a share, `settled` whether headroom alone decides the share now.

    able: there is money for replicas, they do start, and what arrives is known: whether cold starts may become dearer or cheaper.
    warm: the model has been loaded for WARM_S, so that no start is to blame for what is missing.
    Example: 500 requests of which 450 were useful, 0.95 promised -> 0.024 tighter (test_worked_examples.py::test_a_missed_promise_tightens).
    """
    if not isinstance(outcomes, Known) or not (math.isfinite(outcomes.value.offered) and math.isfinite(outcomes.value.useful)):
        return old
    offered, useful = outcomes.value.offered, outcomes.value.useful
    if old is None:
        return Attained(offered, useful, 0.0, at_s=outcomes.at_s)
    new, good = offered - old.offered, useful - old.useful
    if new == 0.0 and good == 0.0:
        return old
    tight, days = old.tight, max(0.0, outcomes.at_s - old.at_s) / HALVED_S if old.at_s else 0.0
    dear, kept = max(0.0, old.dear - days), 1.0 - (1.0 - min(1.0, max(0.0, old.kept))) * math.pow(0.5, days)
    if new > 0.0 and good >= 0.0:
        share = min(1.0, good / new)
        missing = promised - share
        if settled:
            tight = min(TIGHTEST, max(LOOSEST, tight + GAIN * missing * min(1.0, new / REQUESTS) / density(promised)))
        if warm:
            kept += (share - kept) * min(1.0, new / DOUBLED)
        if able:
            cold = missing if missing < 0.0 else 0.0 if warm else max(0.0, min(promised, kept) - share)
            dear = min(DEAREST, max(0.0, dear + cold * min(new, REQUESTS) / DOUBLED))
    return Attained(offered, useful, tight, dear, kept, outcomes.at_s)


@lru_cache(maxsize=64)
def density(promised: float) -> float:
    """Of a standard normal at the promised share's quantile: how much of the share one more standard deviation of headroom keeps there."""
    normal = NormalDist()
    return normal.pdf(normal.inv_cdf(min(0.999, max(0.5, promised))))


def dearness(attained: Attained | None, pressure: float = 0.0) -> float:
    """By how much a cold start is dearer than it is by itself, for the promise's sake: 1, 2, 4 .. 64; budget `pressure` (0..1) gives that up again.

    Where less than half of the answers are useful while it is loaded, there is less of a promise to keep that way, and at none nothing.

    Example: 510 useful answers fewer than promised -> 16, and 4 at half pressure (test_worked_examples.py::test_cold_bursts_make_cold_starts_dear).
    """
    if attained is None:
        return 1.0
    worth = min(1.0, max(0.0, 2.0 * attained.kept))
    return math.pow(2.0, math.floor(min(DEAREST, max(0.0, attained.dear)) * worth) * (1.0 - pressure))


def deviations(attained: Attained | None) -> float:
    """`tight` in steps, towards none. 0 where nothing is known."""
    return 0.0 if attained is None else math.trunc(min(TIGHTEST, max(LOOSEST, attained.tight)) / STEP) * STEP
