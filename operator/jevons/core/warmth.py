"""Should a model that may sleep be loaded now, and until when does that hold if nothing happens?

Its own gaps say so (`hazard.py`), counted from its last call, and so do the callers whose calls foretell its own (`cowake.py`), counted from theirs.
It is loaded while any of them says so. Everything is a function of (history, now): no clock, no cluster.
"""

from __future__ import annotations

import math

from jevons.core import cowake, hazard
from jevons.core.value import value


@value
class Warmth:
    """`until_s`: when the answer changes if nothing happens, infinite for never. `since_s`: begin of the window. `caller`: who foretells the call."""

    loaded: bool
    until_s: float
    since_s: float = 0.0
    caller: str = ""


def warmth(  # noqa: PLR0917  a cache's key is positional in what it calls
    startup_s: float, loss_s: float, gaps: hazard.Gaps, prior: hazard.Gaps, callers: cowake.Callers, last_s: float | None, now: float
) -> Warmth:
    """Whether a model is worth being loaded now.

    startup_s: of one start [s]; loss_s: what a late answer costs, in seconds of the replica's price; last_s: its last call or work, None = never.
    """
    spans: list[tuple[float, float, str]] = []
    if last_s is not None and now - last_s < hazard.END_S:
        spans += [(begin_s, end_s, "") for begin_s, end_s in _at(hazard.windows(startup_s, loss_s, gaps, prior), last_s, now)]
    for one in cowake.opened(callers, now):
        spans += [(begin_s, end_s, one.name) for begin_s, end_s in _at(cowake.windows(one, startup_s, loss_s), one.open_s, now)]
    inside = max((span for span in spans if span[0] <= now), default=None)
    if inside is None:
        return Warmth(False, min((begin_s for begin_s, _, _ in spans), default=math.inf))
    until_s = inside[1]
    for begin_s, end_s, _ in sorted(spans):
        if begin_s <= until_s:
            until_s = max(until_s, end_s)
    return Warmth(True, until_s, inside[0], inside[2])


def _at(plan: hazard.Windows, base_s: float | None, now: float) -> list[tuple[float, float]]:
    """Windows as times, those that are over left out."""
    base = base_s or 0.0
    return [(base + begin_s, base + end_s) for begin_s, end_s in plan if base + end_s > now]
