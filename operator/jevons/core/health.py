"""What a variant's pods have shown of themselves, and must not be forgotten between two passes: starts, stalls, spot replicas taken away.

`startup.py`, `stuck.py` and `reclaim.py` ask the questions; this is the evidence that they share, as one small value per variant (a few KB at most,
whatever the fleet), updated once per pass from what `demand.pods_of` came across.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from jevons.core.value import value

Starting: TypeAlias = tuple[str, float, float]
"""A pod seen from its creation on that was not ready yet: uid, when it was created, when it was last seen so."""
Stalled: TypeAlias = tuple[str, float, float]
"""A pod with work that makes no progress: uid, since when, when it was last seen so."""


@value
class Spot:
    """Spot pods as last seen, and how many were taken away in how many pod-hours (decayed)."""

    uids: tuple[str, ...]
    pods: int
    """All of the variant that were not on their way out, spot or not."""
    at_s: float
    pod_hours: float = 0.0
    losses: float = 0.0


@value
class Health:
    """Evidence about one variant's pods. Times are seconds since the epoch."""

    starting: tuple[Starting, ...] = ()
    starts_s: tuple[float, ...] = ()
    """Seconds from created to ready of the last starts, oldest first."""
    stalled: tuple[Stalled, ...] = ()
    replaced_at_s: float | None = None
    """When a stuck pod was last replaced."""
    replacements: int = 0
    """How many were, without a long time in between."""
    spot: Spot | None = None
    """None = it never had a spot pod."""
    at_home: tuple[bool, ...] = ()
    """Of the last entries of `starts_s`, whether that pod's node had served the variant before: its image and weights are there."""
    homes: tuple[str, ...] = ()
    """Nodes on which a pod of the variant has been ready, the latest last."""
    waking: tuple[Starting, ...] = ()
    """Pods that were asleep and shall be awake: uid, since when, when last seen so."""
    wakes_s: tuple[float, ...] = ()
    """Seconds that the last wakes took, oldest first."""


WELL = Health()


def listed(health: Health) -> list[object]:
    """As a row for JSON."""
    spot = health.spot
    taken = None if spot is None else [spot.uids, spot.pods, spot.at_s, spot.pod_hours, spot.losses]
    at_home = [int(known) for known in health.at_home]
    return [
        health.starting,
        health.starts_s,
        health.stalled,
        health.replaced_at_s,
        health.replacements,
        taken,
        at_home,
        health.homes,
        health.waking,
        health.wakes_s,
    ]


def restored(row: Sequence[Any]) -> Health:
    """From `listed`. Raises ValueError, TypeError or IndexError for anything else."""
    if not row:
        return WELL
    replaced_at_s = None if row[3] is None else float(row[3])
    well = Health(_pods(row[0]), tuple(float(seconds) for seconds in row[1]), _pods(row[2]), replaced_at_s, int(row[4]), _spot(row[5:]))
    if len(row) > 7:
        well = replace(well, at_home=tuple(bool(known) for known in row[6]), homes=tuple(str(node) for node in row[7]))
    return replace(well, waking=_pods(row[8]), wakes_s=tuple(float(seconds) for seconds in row[9])) if len(row) > 9 else well


def _spot(rest: Sequence[Any]) -> Spot | None:
    if not rest or rest[0] is None:
        return None
    uids, pods, at_s, pod_hours, losses = rest[0]
    return Spot(tuple(str(uid) for uid in uids), int(pods), float(at_s), float(pod_hours), float(losses))


def _pods(rows: Sequence[Sequence[Any]]) -> tuple[tuple[str, float, float], ...]:
    return tuple((str(uid), float(since_s), float(seen_s)) for uid, since_s, seen_s in rows)
