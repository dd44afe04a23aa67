"""The compiled fleet: time goes on, requests arrive, and replicas come and go.

Where a request goes is in `kernel_dispatch.py`, who waits until others need less in `kernel_patient.py`.
"""

from __future__ import annotations

import math

import numpy as np

from jevons.simulator.kernel import run
from jevons.simulator.kernel_cache import entry, inner
from jevons.simulator.kernel_dispatch import dispatch, hold, refuse, unhold
from jevons.simulator.kernel_patient import arrive_patient, let_go
from jevons.simulator.kernel_state import DECODING, DRAINING, FREE, LOST, NONE, PREFILLING, READY, WAITING, State

LAST_S = np.finfo(np.float64).max
"""Idle replicas' iterations end at inf: nothing is ever run until then."""


@inner
def _give_up(state: State, v: int, now_s: float, max_wait_s: float) -> None:
    """Those who have waited too long are refused. The first in the line is the oldest, unless ranks differ."""
    r = state.counts[v].first
    while r != NONE and (state.next[3] > 0 or now_s - state.at_s[r] > max_wait_s):
        after = np.int64(state.work[r].after)
        if now_s - state.at_s[r] > max_wait_s:
            unhold(state, v, r)
            refuse(state, r)
            state.counts[v].refused += 1
        r = after


@inner
def _settle(state: State, now_s: float, max_wait_s: float) -> None:
    """Those who have waited too long are refused, those with a ready replica go to it."""
    for v in range(len(state.counts)):
        counts = state.counts[v]
        _give_up(state, v, now_s, max_wait_s)
        while counts.held > 0 and counts.ready > 0:
            r = counts.first
            unhold(state, v, r)
            state.work[r].waited_s = now_s - state.at_s[r]
            dispatch(state, v, r, now_s)


@inner
def _arrive(state: State, r: int, max_wait_s: float) -> None:
    v, at_s = np.int64(state.route[r]), state.at_s[r]
    if v == NONE:
        refuse(state, r)
        return
    counts = state.counts[v]
    counts.arrivals += 1
    if state.input_tokens[r] + state.output_tokens[r] > state.physics[v].kv_tokens:
        refuse(state, r)
        counts.refused += 1
    elif state.work[r].patience_s > 0.0:
        arrive_patient(state, v, r, max_wait_s)
    elif counts.ready > 0:
        dispatch(state, v, r, at_s)
    else:
        hold(state, v, r)


@entry
def advance(state: State, to_s: float, inclusive: bool, max_wait_s: float) -> None:
    """Everything until `to_s`; what falls on that very instant only when `inclusive`. `to_s` is not before `now`."""
    _settle(state, state.now[0], max_wait_s)
    n, r = len(state.at_s), state.next[0]
    while r < n and (state.at_s[r] < to_s or (inclusive and state.at_s[r] == to_s)):
        if state.next[1] > 0:
            let_go(state, state.at_s[r], True, max_wait_s)
        _arrive(state, r, max_wait_s)
        r += 1
    state.next[0] = r
    if state.next[1] > 0:
        let_go(state, to_s, inclusive, max_wait_s)
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
    slot.booked = slot.planned = slot.ending = slot.gaps = slot.batch_left = slot.has_spare = 0
    slot.oldest = slot.youngest = slot.first = slot.last = slot.carried = NONE
    slot.busy_s = 0.0
    slot.idle_since_s = state.now[0]
    slot.stream = stream
    state.ends[s] = math.inf
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
            hold(state, slot.variant, r)
        else:
            work.state = LOST
            state.counts[slot.variant].lost += 1
    slot.state = FREE
    slot.running = slot.waiting = 0
    state.ends[s] = math.inf
    return found
