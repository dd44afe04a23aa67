"""Should a model that may sleep be loaded now (or asleep in host memory, `tiers.py`), and until when does that hold if nothing happens?

Its own gaps say so (`hazard.py`), counted from its last call, and so do the callers whose calls foretell its own (`cowake.py`), counted from theirs.
It is loaded while any of them says so. Everything is a function of (history, now): no clock, no cluster.
"""

from __future__ import annotations

import math

from jevons.core import cowake, hazard, tiers
from jevons.core.tiers import Rest
from jevons.core.value import value


@value
class Warmth:
    """`until_s`: when the answer changes if nothing happens, infinite for never. `since_s`: begin of the window. `caller`: who foretells the call."""

    loaded: bool
    until_s: float
    since_s: float = 0.0
    caller: str = ""
    sleeps: bool = False
    """It is not worth being loaded, but worth sleeping in host memory."""


def warmth(  # noqa: PLR0917  a cache's key is positional in what it calls
    startup_s: float,
    loss_s: float,
    gaps: hazard.Gaps,
    prior: hazard.Gaps,
    callers: cowake.Callers,
    last_s: float | None,
    now: float,
    rest: Rest | None = None,
    *,
    resting: bool = False,
) -> Warmth:
    """Whether a model is worth being loaded now.

    startup_s: of one start [s]; loss_s: what a late answer costs, in seconds of the replica's price; last_s: its last call or work, None = never.
    rest: what sleeping in host memory is worth, None = it cannot; resting: it does now, so that a caller's call makes it wake and not start.
    """
    spans: list[tuple[float, float, str]] = []
    naps: list[tuple[float, float]] = []
    if last_s is not None and now - last_s < hazard.END_S:
        if rest is None:
            loaded = hazard.windows(startup_s, loss_s, gaps, prior)
        else:
            loaded, asleep = tiers.windows(startup_s, loss_s, rest, gaps, prior)
            naps = _at(asleep, last_s, now)
        spans += [(begin_s, end_s, "") for begin_s, end_s in _at(loaded, last_s, now)]
    begun_s, late_s = (rest.wake_s, rest.loss_s) if rest is not None and resting else (startup_s, loss_s)
    for one in cowake.opened(callers, now):
        spans += [(begin_s, end_s, one.name) for begin_s, end_s in _at(cowake.windows(one, begun_s, late_s), one.open_s, now)]
    inside = max((span for span in spans if span[0] <= now), default=None)
    if inside is None:
        nap = next((end_s for begin_s, end_s in naps if begin_s <= now), None)
        changes = [*[begin_s for begin_s, _, _ in spans], *[begin_s for begin_s, _ in naps if begin_s > now], *([nap] if nap is not None else [])]
        return Warmth(False, min(changes, default=math.inf), sleeps=nap is not None)
    until_s = inside[1]
    for begin_s, end_s, _ in sorted(spans):
        if begin_s <= until_s:
            until_s = max(until_s, end_s)
    return Warmth(True, until_s, inside[0], inside[2])


def _at(plan: hazard.Windows, base_s: float | None, now: float) -> list[tuple[float, float]]:
    """Windows as times, those that are over left out."""
    base = base_s or 0.0
    return [(base + begin_s, base + end_s) for begin_s, end_s in plan if base + end_s > now]
