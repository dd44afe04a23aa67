"""The compiled dispatcher: which replica an arrival goes to, who waits in front of them, and how replicas come and go.

Arrivals go to the ready replica of their variant that the `Dispatch` says; usually the one with the fewest outstanding tokens, of equals the lowest
slot. With none ready they are held, in order of arrival. Replicas do not know of each other, so one is brought up to an instant only when somebody
looks at it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jevons.simulator.kernel import run, submit
from jevons.simulator.kernel_cache import entry, inner
from jevons.simulator.kernel_state import DECODING, DRAINING, FREE, HELD, LOST, NONE, PREFILLING, READY, REFUSED, WAITING, State
from jevons.simulator.scenario import Dispatch

LEAST_TOKENS, RANDOM, ROUND_ROBIN, TWO_CHOICES = (
    int(one) for one in (Dispatch.LEAST_TOKENS, Dispatch.RANDOM, Dispatch.ROUND_ROBIN, Dispatch.TWO_CHOICES)
)
LAST_S = np.finfo(np.float64).max
"""Idle replicas' iterations end at inf: nothing is ever run until then."""


@inner
def _fewer(state: State, best: Any, s: Any) -> Any:
    """Of two replicas the one with fewer requests in it; the first when equal."""
    one, other = state.slots[best], state.slots[s]
    return s if other.running + other.waiting < one.running + one.waiting else best


@inner
def _chosen(state: State, v: Any, r: Any, count: Any) -> Any:
    """The replica of `count` ready ones that request `r` goes to, by anything but tokens. What is looked at has been brought up to date."""
    mode = state.dispatch[0]
    if mode == ROUND_ROBIN:
        turn = state.dispatch[1 + v]
        state.dispatch[1 + v] = turn + 1
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
def _dispatch(state: State, v: Any, r: Any, now_s: float) -> None:
    """Hand request `r` to a ready replica of variant `v`; there must be one."""
    count, ends, outstanding = state.counts[v].ready, state.ends, state.outstanding
    best, least = np.int64(NONE), np.int64(0)  # as wide as what they become: one compilation of everything below
    for i in range(count):
        s: Any = state.ready[v, i]
        if ends[s] <= now_s:
            run(state, s, now_s)
        if best == NONE or outstanding[s] < least:
            best, least = s, outstanding[s]
    if state.dispatch[0] != LEAST_TOKENS:
        best = _chosen(state, v, r, count)
    submit(state, best, r, now_s)


@inner
def _refuse(state: State, r: int) -> None:
    state.work[r].state = REFUSED


@inner
def _hold(state: State, v: Any, r: Any) -> None:
    """Request `r` waits in front of variant `v`, behind everybody who arrived before it."""
    counts, work = state.counts[v], state.work[r]
    work.state = HELD
    before, after = counts.last, np.int64(NONE)
    if before != NONE and before > r:
        before, after = np.int64(NONE), counts.first
        while after < r:
            before, after = after, np.int64(state.work[after].after)
    work.before, work.after = before, after
    if before == NONE:
        counts.first = r
    else:
        state.work[before].after = r
    if after == NONE:
        counts.last = r
    else:
        state.work[after].before = r
    counts.held += 1
    counts.held_tokens += state.input_tokens[r]


@inner
def _first_held(state: State, v: int) -> Any:
    """Take the first request out of the queue in front of variant `v`."""
    counts = state.counts[v]
    r = counts.first
    counts.first = state.work[r].after
    if counts.first == NONE:
        counts.last = NONE
    else:
        state.work[counts.first].before = NONE
    counts.held -= 1
    counts.held_tokens -= state.input_tokens[r]
    return r


@inner
def _settle(state: State, now_s: float, max_wait_s: float) -> None:
    """Those who have waited too long are refused, those with a ready replica go to it."""
    for v in range(len(state.counts)):
        counts = state.counts[v]
        while counts.held > 0 and now_s - state.at_s[counts.first] > max_wait_s:
            _refuse(state, _first_held(state, v))
            counts.refused += 1
        while counts.held > 0 and counts.ready > 0:
            _dispatch(state, v, _first_held(state, v), now_s)


@inner
def _arrive(state: State, r: int) -> None:
    v, at_s = np.int64(state.route[r]), state.at_s[r]
    if v == NONE:
        _refuse(state, r)
        return
    counts = state.counts[v]
    counts.arrivals += 1
    if state.input_tokens[r] + state.output_tokens[r] > state.physics[v].kv_tokens:
        _refuse(state, r)
        counts.refused += 1
    elif counts.ready > 0:
        _dispatch(state, v, r, at_s)
    else:
        _hold(state, v, r)


@entry
def advance(state: State, to_s: float, inclusive: bool, max_wait_s: float) -> None:
    """Everything until `to_s`; arrivals at that very instant only when `inclusive`. `to_s` is not before `now`."""
    _settle(state, state.now[0], max_wait_s)
    n, r = len(state.at_s), state.next[0]
    while r < n and (state.at_s[r] < to_s or (inclusive and state.at_s[r] == to_s)):
        _arrive(state, r)
        r += 1
    state.next[0] = r
    until_s = min(to_s, LAST_S)
    for s in range(len(state.slots)):
        if state.ends[s] <= until_s:
            run(state, s, until_s)
    state.now[0] = to_s


@entry
def ready(state: State, v: int, s: int, serial: int, stream: np.uint64) -> None:
    """A new replica of variant `v` in the free slot `s`; `stream` seeds its jitter."""
    slot = state.slots[s]
    slot.variant, slot.state, slot.serial = v, READY, serial
    slot.iteration = slot.context = slot.kv_used = slot.running = slot.waiting = slot.queued_tokens = 0
    slot.planned = slot.ending = slot.gaps = slot.batch_left = slot.has_spare = 0
    slot.oldest = slot.youngest = slot.first = slot.last = slot.carried = NONE
    slot.busy_s = 0.0
    slot.idle_since_s = state.now[0]
    slot.stream = stream
    state.ends[s], state.outstanding[s] = math.inf, 0
    counts = state.counts[v]
    i = counts.ready
    while i > 0 and state.ready[v, i - 1] > s:
        state.ready[v, i] = state.ready[v, i - 1]
        i -= 1
    state.ready[v, i] = s
    counts.ready += 1


@inner
def _unlist(state: State, s: int) -> None:
    """Slot `s` takes no new requests."""
    v = state.slots[s].variant
    counts, i = state.counts[v], 0
    while state.ready[v, i] != s:
        i += 1
    counts.ready -= 1
    for j in range(i, counts.ready):
        state.ready[v, j] = state.ready[v, j + 1]


@entry
def drain(state: State, s: int) -> None:
    """Slot `s` finishes what it has."""
    _unlist(state, s)
    slot = state.slots[s]
    slot.state = DRAINING
    if state.ends[s] == math.inf:
        slot.idle_since_s = state.now[0]


@entry
def kill(state: State, s: int, retry: bool) -> int:
    """Slot `s` is gone at once; what it had is held again or lost. Returns how many requests that were."""
    slot, found = state.slots[s], 0
    if slot.state == READY:
        _unlist(state, s)
    for r in range(state.next[0]):
        work = state.work[r]
        if work.slot != s or work.state not in (WAITING, PREFILLING, DECODING):
            continue
        found += 1
        state.first_token_s[r] = math.nan
        if retry:
            _hold(state, slot.variant, r)
        else:
            work.state = LOST
            state.counts[slot.variant].lost += 1
    slot.state = FREE
    slot.running = slot.waiting = 0
    state.ends[s] = math.inf
    return found
