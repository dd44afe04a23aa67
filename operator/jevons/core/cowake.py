"""Whose calls foretell whose? Agents call models in chains: once one was asked, another of the same namespace is asked a little later.

Each deployment remembers a few others, its callers: how often it was called within `WITHIN_S` of their call, how often not, and how much later. A
call of a caller opens a window; the first call of ours in it counts as following, a window that passes without one as missed. Candidates are those
that were called before one of ours ended a quiet time; a busy neighbour is a candidate as well, and its many missed windows soon say that it means
nothing. What a caller's call makes likely is weighed by the same rule as a model's own gaps (`hazard.py`);
a chain's next call often comes before a start can be over, and then waits only for the rest of it.

Only within a namespace: nothing in a tenant's object names another one's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TypeAlias

from jevons.core import hazard, idle
from jevons.core.value import value

LAGS_S = (0.0, 15.0, 30.0, 60.0, 90.0, 135.0, 200.0, 300.0, 450.0, 675.0)
"""Edges of the bins of lags."""
WITHIN_S = LAGS_S[-1]
CALLERS = 6
"""Remembered per deployment."""
NEW = 2
"""Candidates taken up at one call."""
DECAY = 0.95
"""Per window: about the last twenty count."""
ENOUGH = 3.0
"""Windows after which a caller is believed."""
DOUBT = 1.0
"""Missed windows that nobody saw."""


@value
class Caller:
    """Another deployment of the namespace. `open_s`: its call whose window is open; counts are decayed."""

    name: str
    open_s: float | None
    followed: float
    missed: float
    lags: tuple[float, ...]
    """How much later ours came, counted in the bins of LAGS_S."""

    @property
    def chance(self) -> float:
        """That a call of it is followed by one of ours."""
        return self.followed / (self.followed + self.missed + DOUBT)


Callers: TypeAlias = tuple[Caller, ...]
Heard: TypeAlias = Mapping[str, tuple[float, float | None]]
"""By deployment of the namespace that was called within WITHIN_S: when last, and when last as of the pass before (None = not known)."""


def learned(callers: Callers, heard: Heard, own: str, before_s: float | None, last_s: float | None, *, now: float) -> Callers:
    """What is known of the callers after this pass; the same object when nothing changed.

    before_s, last_s: our own last call as of the pass before, and now.
    """
    called_s = last_s if last_s is not None and before_s is not None and last_s > before_s else None
    if called_s is None and not callers:
        return callers
    made = [_after(one, heard.get(one.name), before_s, called_s, now) for one in callers]
    if called_s is not None and before_s is not None and called_s - before_s >= idle.FIRST_GAP_S:
        made = _with_new(made, heard, own, called_s)
    return callers if all(one is old for one, old in zip(made, callers, strict=False)) and len(made) == len(callers) else tuple(made)


def _after(one: Caller, call: tuple[float, float | None] | None, before_s: float | None, called_s: float | None, now: float) -> Caller:
    """One caller after this pass: its window closed by our call or by time, and opened by its own call while ours is quiet."""
    if one.open_s is not None and called_s is not None and 0.0 <= called_s - one.open_s < WITHIN_S:
        one = _followed(one, called_s - one.open_s)
    elif one.open_s is not None and now - one.open_s >= WITHIN_S:
        one = Caller(one.name, None, one.followed * DECAY, one.missed * DECAY + 1.0, one.lags)
    if one.open_s is None and call is not None and call[1] is not None and call[0] > call[1]:
        quiet = before_s is None or call[0] - before_s >= idle.FIRST_GAP_S
        if called_s is not None and called_s > call[0] and quiet:
            return _followed(one, called_s - call[0])
        if called_s is None and quiet and now - call[0] < WITHIN_S:
            return Caller(one.name, call[0], one.followed, one.missed, one.lags)
    return one


def _followed(one: Caller, lag_s: float) -> Caller:
    return Caller(one.name, None, one.followed * DECAY + 1.0, one.missed * DECAY, _counted(one.lags, lag_s))


def _counted(lags: tuple[float, ...], lag_s: float) -> tuple[float, ...]:
    counts = [round(count * DECAY, 4) for count in lags] if len(lags) == len(LAGS_S) - 1 else [0.0] * (len(LAGS_S) - 1)
    counts[sum(edge <= lag_s for edge in LAGS_S[1:-1])] += 1.0
    return tuple(counts)


def _with_new(known: list[Caller], heard: Heard, own: str, called_s: float) -> list[Caller]:
    """Those called last before ours ended a quiet time are taken up; the least telling make room."""
    names = {one.name for one in known}
    others = [(at_s if at_s < called_s else before_s, name) for name, (at_s, before_s) in heard.items() if name != own and name not in names]
    lags = sorted([(called_s - at_s, name) for at_s, name in others if at_s is not None and 0.0 < called_s - at_s < WITHIN_S])
    if not lags:
        return known
    new = [Caller(name, None, 1.0, 0.0, _counted((), lag_s)) for lag_s, name in lags[:NEW]]
    return sorted([*known, *new], key=lambda one: (-one.chance, one.name))[:CALLERS]


def opened(callers: Callers, now: float) -> list[Caller]:
    """Those whose call has opened a window, and that are believed."""
    return [one for one in callers if one.open_s is not None and 0.0 <= now - one.open_s < WITHIN_S and one.followed + one.missed >= ENOUGH]


def windows(one: Caller, startup_s: float, loss_s: float) -> hazard.Windows:
    """The ages since the caller's call at which our model is worth being loaded (`hazard.windows`)."""
    return _windows(startup_s, loss_s, round(one.chance, 2), one.lags)


@lru_cache(maxsize=4096)
def _windows(startup_s: float, loss_s: float, chance: float, lags: tuple[float, ...]) -> hazard.Windows:
    total, edges = sum(lags), hazard.EDGES
    if total <= 0.0:
        return ()
    ends = [0.0] * (len(edges) - 1)
    for at in range(len(ends)):
        for place, count in enumerate(lags):
            shared_s = min(edges[at + 1], LAGS_S[place + 1]) - max(edges[at], LAGS_S[place])
            if shared_s > 0.0:
                ends[at] += chance * count / total * shared_s / (LAGS_S[place + 1] - LAGS_S[place])
    return hazard.programme(ends, startup_s, loss_s, asleep=True, patient=True)
