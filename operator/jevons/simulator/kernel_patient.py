"""The compiled second line in front of each variant: requests that can wait for idle capacity (request classes of tier Flex and Batch).

As our gateway has it (`gateway/steps/decide.py`, `room_hold.py`): one goes at once when a ready replica has no more than `idle_tokens` of work that
has not ended (whole requests, however much of them is done). Else it stands behind everybody who cannot wait, by rank and then in order of arrival.
The line is looked at SETTLE_S after its first one came and every STEP_S from then on; each time one goes for every replica that has room. Whose
patience ends goes at that instant whatever is busy, or joins those who are held where nothing is ready. Where four fifths of the room in front of
all variants are taken nobody joins: it goes at once, or is refused where nothing is ready.

Left out: turns of teams, and that a gateway lets those whose patience ended go at its next look (up to STEP_S later), at first a few and then twice
as many each time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jevons.simulator.kernel import run
from jevons.simulator.kernel_cache import inner
from jevons.simulator.kernel_dispatch import dispatch, goes_before, hold, refuse
from jevons.simulator.kernel_links import link, unlink
from jevons.simulator.kernel_state import HELD, NONE, State

SETTLE_S = 0.05
STEP_S = 0.2
"""As the gateway's (`room_hold.py`; a test holds the two together)."""
FOR_OTHERS = 0.8
"""Nobody joins the line where this part of the room is taken (`room_queue.py`)."""
OF_THE_WAIT = 0.5
"""Nobody waits for idle capacity longer than this part of how long it may wait at all."""


@inner
def _until_s(state: State, r: Any, max_wait_s: float) -> Any:
    """When the patience of `r` ends."""
    return state.at_s[r] + min(state.work[r].patience_s, OF_THE_WAIT * max_wait_s)


@inner
def _with_room(state: State, v: Any, now_s: float) -> Any:
    """How many ready replicas of the variant have room for work that can wait; all of them are brought up to date."""
    room = 0
    for i in range(state.counts[v].ready):
        s: Any = state.ready[v, i]
        if state.ends[s] <= now_s:
            run(state, s, now_s)
        room += state.slots[s].booked <= state.counts[v].idle_tokens
    return room


@inner
def _join(state: State, v: Any, r: Any, max_wait_s: float) -> None:
    """`r` stands in the second line."""
    counts, at_s = state.counts[v], state.at_s[r]
    state.work[r].state = HELD
    before, after = counts.patient_last, np.int64(NONE)
    while before != NONE and goes_before(state, r, before):
        before, after = np.int64(state.work[before].before), before
    link(state, r, before, after)
    if before == NONE:
        counts.patient_first = r
    if after == NONE:
        counts.patient_last = r
    if counts.patient == 0:
        counts.look_s = at_s + SETTLE_S
    counts.due_s = min(counts.due_s, _until_s(state, r, max_wait_s))
    counts.patient += 1
    state.next[1] += 1


@inner
def _leave(state: State, v: Any, r: Any) -> None:
    """`r` stands in the second line no more; `due_s` is to be found anew."""
    counts = state.counts[v]
    before, after = unlink(state, r)
    if before == NONE:
        counts.patient_first = after
    if after == NONE:
        counts.patient_last = before
    counts.patient -= 1
    state.next[1] -= 1


@inner
def _find_due(state: State, v: Any, max_wait_s: float) -> None:
    """When the first patience in the line ends."""
    counts, due_s = state.counts[v], math.inf
    r = counts.patient_first
    while r != NONE:
        due_s = min(due_s, _until_s(state, r, max_wait_s))
        r = np.int64(state.work[r].after)
    counts.due_s = due_s


@inner
def _full(state: State) -> Any:
    """Whether so many wait in front of all variants that none is kept who can do without."""
    standing = state.next[1]
    for v in range(len(state.counts)):
        standing += state.counts[v].held
    return standing >= state.next[2]


@inner
def arrive_patient(state: State, v: Any, r: Any, max_wait_s: float) -> None:
    """`r` arrives and can wait."""
    counts, at_s = state.counts[v], state.at_s[r]
    if counts.ready > 0 and (_with_room(state, v, at_s) > 0 or _full(state)):
        dispatch(state, v, r, at_s)
    elif _full(state):
        refuse(state, r)
        counts.refused += 1
    else:
        _join(state, v, r, max_wait_s)


@inner
def _end(state: State, v: Any, now_s: float, max_wait_s: float) -> None:
    """Whose patience has ended goes, or is held."""
    counts = state.counts[v]
    r = counts.patient_first
    while r != NONE:
        after = np.int64(state.work[r].after)
        if _until_s(state, r, max_wait_s) <= now_s:
            _leave(state, v, r)
            if counts.ready > 0:
                state.work[r].waited_s = now_s - state.at_s[r]
                dispatch(state, v, r, now_s)
            else:
                hold(state, v, r)
        r = after
    _find_due(state, v, max_wait_s)


@inner
def _look(state: State, v: Any, now_s: float, max_wait_s: float) -> None:
    """One goes for each replica that has room, where nobody is held."""
    counts = state.counts[v]
    counts.look_s += STEP_S
    if counts.ready == 0 or counts.held > 0:
        return
    room = min(_with_room(state, v, now_s), counts.patient)
    for _ in range(room):
        r: Any = counts.patient_first
        _leave(state, v, r)
        state.work[r].waited_s = now_s - state.at_s[r]
        dispatch(state, v, r, now_s)
    if room > 0:
        _find_due(state, v, max_wait_s)


@inner
def let_go(state: State, until_s: float, inclusive: bool, max_wait_s: float) -> None:
    """Everything that happens in the second lines before `until_s`, or at that instant when `inclusive`, in order of time."""
    while state.next[1] > 0:
        first, at_s = np.int64(NONE), math.inf
        for v in range(len(state.counts)):
            counts = state.counts[v]
            next_s = min(counts.look_s, counts.due_s)
            if counts.patient > 0 and next_s < at_s:
                first, at_s = np.int64(v), next_s
        if at_s > until_s or (at_s == until_s and not inclusive):
            return
        if state.counts[first].due_s <= at_s:
            _end(state, first, at_s, max_wait_s)
        else:
            _look(state, first, at_s, max_wait_s)
