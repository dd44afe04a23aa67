"""The compiled dispatcher: which replica a request goes to, and who stands in the line of those that cannot wait.

Arrivals go to the ready replica of their variant that the `Dispatch` says; usually the one with the least load, of equals the lowest
slot. With none ready they are held: by rank of their class, then in order of arrival. Replicas do not know of each other, so one is brought up to an
instant only when somebody looks at it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jevons.simulator.kernel import run, submit
from jevons.simulator.kernel_cache import inner
from jevons.simulator.kernel_links import link, unlink
from jevons.simulator.kernel_state import HELD, NONE, REFUSED, State
from jevons.simulator.scenario import Dispatch

LEAST_LOAD, RANDOM, ROUND_ROBIN, TWO_CHOICES = (
    int(one) for one in (Dispatch.LEAST_LOAD, Dispatch.RANDOM, Dispatch.ROUND_ROBIN, Dispatch.TWO_CHOICES)
)


@inner
def _fewer(state: State, best: Any, s: Any) -> Any:
    """Of two replicas the one with fewer requests in it; the first when equal."""
    one, other = state.slots[best], state.slots[s]
    return s if other.running + other.waiting < one.running + one.waiting else best


@inner
def _chosen(state: State, v: Any, r: Any, count: Any) -> Any:
    """The replica of `count` ready ones that request `r` goes to, by anything but load. What is looked at has been brought up to date."""
    mode = state.dispatch[0]
    if mode == ROUND_ROBIN:
        turn = state.dispatch[2 + v]
        state.dispatch[2 + v] = turn + 1
        return state.ready[v, turn % count]
    if mode == RANDOM:
        return state.ready[v, min(count - 1, np.int64(state.lots[r, 0] * count))]
    if mode == TWO_CHOICES:
        first, second = min(count - 1, np.int64(state.lots[r, 0] * count)), min(count - 1, np.int64(state.lots[r, 1] * count))
        return _fewer(state, state.ready[v, first], state.ready[v, second])
    best = state.ready[v, 0]
    for i in range(1, count):
        best = _fewer(state, best, state.ready[v, i])
    return best


@inner
def dispatch(state: State, v: Any, r: Any, now_s: float) -> None:
    """Hand request `r` to a ready replica of variant `v`; there must be one."""
    count, ends = state.counts[v].ready, state.ends
    best, least = np.int64(NONE), np.int64(0)  # as wide as what they become: one compilation of everything below
    for i in range(count):
        s: Any = state.ready[v, i]
        if ends[s] <= now_s:
            run(state, s, now_s)
        slot = state.slots[s]
        load = (slot.running + slot.waiting) * state.dispatch[1] + slot.booked
        if best == NONE or load < least:
            best, least = s, load
    if state.dispatch[0] != LEAST_LOAD:
        best = _chosen(state, v, r, count)
    submit(state, best, r, now_s)


@inner
def refuse(state: State, r: int) -> None:
    """Nobody answers `r`."""
    state.work[r].state = REFUSED


@inner
def goes_before(state: State, r: Any, other: Any) -> Any:
    """Whether of two that wait `r` goes first."""
    return state.work[r].rank < state.work[other].rank or (state.work[r].rank == state.work[other].rank and r < other)


@inner
def hold(state: State, v: Any, r: Any) -> None:
    """Request `r` waits in front of variant `v`, behind everybody of its rank who arrived before it."""
    counts = state.counts[v]
    state.work[r].state = HELD
    before, after = counts.last, np.int64(NONE)
    if before != NONE and goes_before(state, r, before):
        before, after = np.int64(NONE), counts.first
        while goes_before(state, after, r):
            before, after = after, np.int64(state.work[after].after)
    link(state, r, before, after)
    if before == NONE:
        counts.first = r
    if after == NONE:
        counts.last = r
    counts.held += 1
    counts.held_tokens += state.input_tokens[r]


@inner
def unhold(state: State, v: Any, r: Any) -> None:
    """Take `r` out of the queue in front of variant `v`."""
    counts = state.counts[v]
    before, after = unlink(state, r)
    if before == NONE:
        counts.first = after
    if after == NONE:
        counts.last = before
    counts.held -= 1
    counts.held_tokens -= state.input_tokens[r]
