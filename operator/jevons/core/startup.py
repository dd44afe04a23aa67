"""How long does a start of this variant take? What its own starts took, once there are enough of them; until then what the spec says.

A replica that is ordered now helps when it is ready, and most must be ready by then: so it is a high quantile of the last starts that counts, not
their mean. A start is timed from the pod's creation (a node that must be made first is part of it) to its first readiness, and only where we watched
it: a pod that came back from a crash, or that we first met when it was old, tells nothing about starting. Each of the first observations replaces one
of ENOUGH that say what the spec says, so two slow starts out of eight are believed at once, and fast ones when seven agree.

Clocks differ between machines (creation is the API server's, readiness the kubelet's, `now` ours), so a start is cut to what we saw ourselves: not
created before we could have seen it, not ready before we last saw it unready. What is believed stays within FACTOR of the spec, whatever was seen.
"""

from __future__ import annotations

import math
from functools import lru_cache

from jevons.core.health import Health, Starting

QUANTILE = 0.8
ENOUGH = 8
"""So many starts stand for themselves; fewer are filled up with the spec's value."""
KEEP = 24
"""The last starts that count."""
FACTOR = 8.0
YOUNG_S = 60.0
"""A pod that is older when first seen is not timed."""
WATCHED = 32
"""Pods timed at once, at most."""
STEPS = 7.0
"""The result moves in steps of 2^(1/7), about 10 %, so that plans do not flap."""


def expected_s(health: Health, spec_s: float) -> float:
    """Seconds within which a start is expected to be ready; the spec's value while too few starts were seen.

    Example: the spec says 60 s, two starts took 240 s each -> 240 s; seven took 15 s each -> 15 s, six of them -> still 60 s
    (test_startup.py::test_slow_starts_are_believed_sooner_than_fast_ones).
    """
    return _quantile_s(health.starts_s, spec_s) if health.starts_s else spec_s


@lru_cache(maxsize=4096)
def _quantile_s(starts_s: tuple[float, ...], spec_s: float) -> float:
    if spec_s <= 0.0:
        return spec_s
    bounded = [min(spec_s * FACTOR, max(spec_s / FACTOR, seconds)) for seconds in starts_s[-KEEP:]]
    bounded.extend(spec_s for _ in range(ENOUGH - len(bounded)))
    bounded.sort()
    found = bounded[math.ceil(QUANTILE * len(bounded) - 1e-9) - 1]
    return spec_s * math.pow(2.0, round(math.log2(found / spec_s) * STEPS) / STEPS)


def watched(starting: tuple[Starting, ...], uid: str, created_s: float, now: float) -> Starting | None:
    """The entry of a pod that is not ready now; None when its start is not timed."""
    for known, since_s, _ in starting:
        if known == uid:
            return (uid, since_s, now)
    return (uid, min(created_s, now), now) if now - created_s <= YOUNG_S else None


def taken_s(starting: tuple[Starting, ...], uid: str, ready_s: float, now: float) -> float | None:
    """Seconds that the start took of a pod that is ready now; None when it was not timed."""
    for known, since_s, unready_s in starting:
        if known == uid:
            return min(max(ready_s, unready_s), now) - since_s
    return None
