"""Which replica has work and does none of it? It serves nobody, whatever its readiness says, and another one should take its place.

A pod is stalled when all that can be read of it agrees: requests run or wait in its engine, its accelerators are quiet, and not one token came or
went in the last minute. After STUCK_S of that in a row it is stuck: it counts as no capacity from then on. Whatever is missing, old or not a number
ends the row: no data is never an idle GPU. A pod without GPU metrics is never called stuck, and so is one whose engine should count tokens and whose
count is not known.

One stuck pod of a variant is replaced at a time: the next not before the last one's successor is ready or overdue, and after a pause that doubles
with each (a broken image would otherwise make a storm). A pod that works is never replaced.
"""

from __future__ import annotations

import math
from dataclasses import replace

from jevons.core.health import Health, Stalled
from jevons.core.idle import QUIET_UTIL

STUCK_S = 180.0
GAP_S = 90.0
"""Two sightings further apart are not in a row: nobody knows what was between them."""
PAUSE_S, PAUSE_MAX_S = 300.0, 3600.0
"""Between two replacements of a variant, doubling with each."""
FORGIVEN_S = 7200.0
"""After so long without a replacement the pause begins anew."""


def suspect(running: float | None, waiting: float | None, util: float | None) -> bool:
    """Whether a pod surely has work and a quiet GPU: it is stalled if its token counters, all of them read, stand still too. None = not read."""
    return util is not None and util <= QUIET_UTIL and bool(running or waiting)


def sighted(before: tuple[Stalled, ...], uid: str, now: float) -> Stalled:
    """The entry of a pod that is stalled now: since when, in a row."""
    for known, since_s, seen_s in before:
        if known == uid and 0.0 <= now - seen_s <= GAP_S:
            return (uid, since_s, now)
    return (uid, now, now)


def pause_s(health: Health) -> float:
    """How long after the last replacement the next one may come [s].

    Example: after the first 300 s, after the third 1,200 s, never more than an hour (test_stuck.py::test_a_broken_image_makes_no_storm).
    """
    return min(PAUSE_MAX_S, PAUSE_S * math.ldexp(1.0, min(10, health.replacements - 1))) if health.replacements > 0 else 0.0


def due(health: Health, now: float, *, starting: bool) -> bool:
    """Whether a stuck pod may be replaced now; starting: a pod of the variant is on its way, the last one's successor perhaps."""
    return not starting and (health.replaced_at_s is None or not 0.0 <= now - health.replaced_at_s < pause_s(health))


def replaced(health: Health, now: float) -> Health:
    """The evidence after a replacement was ordered."""
    again = health.replaced_at_s is not None and now - health.replaced_at_s < FORGIVEN_S
    return replace(health, replaced_at_s=now, replacements=health.replacements + 1 if again else 1)
