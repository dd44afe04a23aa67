"""The compiled inside of `fleet.Fleet`: every replica of every variant, iteration by iteration, exactly as `engine.Engine` does it.

Read `engine.py` first: this is the same engine, written over arrays because numba compiles arrays. Times, sums and their order are the same, so with
jitter 0 the results are the same to the last bit. What makes it fast: machine code, no objects, and a loop of its own (`_decode`) for
stretches in which a replica only decodes, where an iteration is a handful of additions.

Functions take the whole `State` and the number of a slot `s` (one replica) or of a request `r`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jevons.simulator.kernel_cache import inner
from jevons.simulator.kernel_state import DECODING, DONE, NONE, PREFILLING, WAITING, State

Ints = NDArray[np.int64]
_LOW = (1 << 32) - 1


@inner
def _push(heap: Ints, size: int, key: int) -> None:
    """Put `key` into a binary heap of `size` keys, smallest first."""
    at = size
    while at > 0:
        above = (at - 1) >> 1
        if heap[above] <= key:
            break
        heap[at] = heap[above]
        at = above
    heap[at] = key


@inner
def _delete(heap: Ints, size: int, at: Any) -> None:
    """Take the key at position `at` out of a heap of `size` keys."""
    last = size - 1
    key = heap[last]
    while at > 0 and heap[(at - 1) >> 1] > key:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    while True:
        below = 2 * at + 1
        if below >= last:
            break
        if below + 1 < last and heap[below + 1] < heap[below]:
            below += 1
        if heap[below] >= key:
            break
        heap[at] = heap[below]
        at = below
    heap[at] = key


@inner
def _uniform(slot: Any) -> float:
    """The next number of the slot's own stream, -1..1 (splitmix64)."""
    slot.stream += np.uint64(0x9E3779B97F4A7C15)
    z = slot.stream
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) * (2.0 / 9007199254740992.0) - 1.0


@inner
def _jittered(slot: Any, sigma: float) -> float:
    """A lognormal factor of mean 1 (Marsaglia's polar method gives two normal numbers; one is kept)."""
    if slot.has_spare:
        slot.has_spare = 0
        normal = slot.spare
    else:
        while True:
            x, y = _uniform(slot), _uniform(slot)
            square = x * x + y * y
            if 0.0 < square < 1.0:
                break
        scale = math.sqrt(-2.0 * math.log(square) / square)
        normal = x * scale
        slot.spare = y * scale
        slot.has_spare = 1
    return math.exp(sigma * normal - 0.5 * sigma * sigma)


@inner
def _position(iterations: Ints, count: int, joined: int) -> int:
    """The first entry of the decreasing list that belongs to an iteration after `joined`."""
    low, high = 0, count
    while low < high:
        middle = (low + high) >> 1
        if iterations[middle] <= joined:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def _compact(state: State, s: int, count: int) -> int:
    """Keep only the longest iterations that some decoding sequence will ask for; there are fewer of them than sequences. Returns how many."""
    iterations, gaps, heap = state.gap_iterations[s], state.gaps[s], state.heap[s]
    needed = np.zeros(count + 1, np.bool_)
    for i in range(state.slots[s].ending):
        needed[_position(iterations, count, state.work[heap[i] & _LOW].joined)] = True
    kept = 0
    for i in range(count):
        if needed[i]:
            iterations[kept], gaps[kept] = iterations[i], gaps[i]
            kept += 1
    return kept


@inner
def _largest_gap(state: State, s: int, r: int) -> Any:
    """The longest iteration since `r` joined the batch, or an earlier longer gap [s]."""
    slot, work = state.slots[s], state.work[r]
    position = _position(state.gap_iterations[s], slot.gaps, work.joined)
    return max(work.largest_gap_s, state.gaps[s, position]) if position < slot.gaps else work.largest_gap_s


@inner
def _leave(state: State, s: int, r: int) -> None:
    """Take `r` out of the batch and free its memory."""
    slot, work = state.slots[s], state.work[r]
    held = np.int64(work.target)
    if work.state == DECODING:
        held += slot.iteration - work.joined
        slot.context -= held
    slot.kv_used -= held
    slot.running -= 1
    if work.before == NONE:
        slot.oldest = work.after
    else:
        state.work[work.before].after = work.after
    if work.after == NONE:
        slot.youngest = work.before
    else:
        state.work[work.after].before = work.before


@inner
def _finish(state: State, s: int, r: int, at_s: float) -> None:
    """All of `r` is there."""
    work, counts = state.work[r], state.counts[state.slots[s].variant]
    state.largest_gap_s[r] = _largest_gap(state, s, r)
    state.end_s[r] = at_s
    state.variant[r] = state.slots[s].variant
    _leave(state, s, r)
    work.state = DONE
    state.slots[s].booked -= state.work[r].booked
    counts.completed += 1
    counts.prompt_tokens += state.input_tokens[r]
    counts.output_tokens += state.output_tokens[r]


@inner
def _preempt(state: State, s: int, now_s: float) -> None:
    """Send the youngest back to the head of the queue; it will be recomputed with what it had generated."""
    slot = state.slots[s]
    r = slot.youngest
    work = state.work[r]
    if work.state == DECODING:
        work.largest_gap_s = _largest_gap(state, s, r)
        work.last_token_s = now_s
        heap, at = state.heap[s], np.int64(0)
        while (heap[at] & _LOW) != r:
            at += 1
        _delete(heap, slot.ending, at)
        slot.ending -= 1
    else:
        slot.carried = NONE
    _leave(state, s, r)
    if work.state == DECODING:
        work.generated += slot.iteration - work.joined
    work.target = state.input_tokens[r] + work.generated
    work.prefilled = min(state.cached_tokens[r], state.input_tokens[r] - 1)
    work.state = WAITING
    work.preemptions += 1
    slot.batch_left += 1
    work.after = slot.first
    slot.first = r
    if slot.last == NONE:
        slot.last = r
    slot.waiting += 1
    slot.queued_tokens += work.target


@inner
def _begin(state: State, s: int, now_s: float) -> None:
    """Choose what the next iteration does, and how long it takes; idle when there is nothing to do."""
    slot = state.slots[s]
    physics = state.physics[slot.variant]
    preempted = False
    decoding = slot.running - (slot.carried != NONE)
    while slot.kv_used + decoding > physics.kv_tokens:
        _preempt(state, s, now_s)
        preempted = True
        decoding = slot.running - (slot.carried != NONE)
    budget = max(1, physics.chunk_tokens - decoding)
    plan, takes, planned = state.plan[s], state.takes[s], 0
    if slot.carried != NONE:
        work = state.work[slot.carried]
        take = min(budget, np.int64(work.target - work.prefilled))
        plan[0], takes[0], planned = slot.carried, take, 1
        budget -= take
        slot.carried = NONE
    if physics.static_batch > 0 and slot.running == 0:
        slot.batch_left = min(physics.static_batch, slot.waiting)
    while slot.waiting > 0 and not preempted and budget > 0 and slot.running < physics.max_num_seqs:
        r = slot.first
        work = state.work[r]
        if slot.kv_used + decoding + work.target > physics.kv_tokens or (physics.static_batch > 0 and slot.batch_left == 0):
            break
        slot.batch_left -= 1
        slot.first = work.after
        if slot.first == NONE:
            slot.last = NONE
        slot.waiting -= 1
        slot.queued_tokens -= work.target
        work.before, work.after = slot.youngest, NONE
        if slot.youngest == NONE:
            slot.oldest = r
        else:
            state.work[slot.youngest].after = r
        slot.youngest = r
        slot.running += 1
        slot.kv_used += work.target
        work.state = PREFILLING
        take = min(budget, np.int64(work.target - work.prefilled))
        plan[planned], takes[planned] = r, take
        planned += 1
        budget -= take
    slot.planned = planned
    if decoding == 0 and planned == 0:
        state.ends[s] = math.inf
        slot.idle_since_s = now_s
        return
    duration_s = 0.0
    if decoding > 0:
        duration_s = physics.itl_a_s + physics.itl_b_s * decoding + physics.itl_c_s * slot.context / 1e3
    if planned > 0:
        duration_s += physics.prefill_p0_s
        for i in range(planned):
            start = np.int64(state.work[plan[i]].prefilled)
            start_k, end_k = start / 1e3, (start + takes[i]) / 1e3
            duration_s += physics.prefill_p1_s * (end_k - start_k) + physics.prefill_p2_s * (end_k * end_k - start_k * start_k)
    if physics.jitter > 0:
        duration_s *= _jittered(slot, physics.jitter)
    duration_s *= physics.slowdown
    slot.iteration += 1
    slot.context += decoding
    slot.kv_used += decoding
    slot.started_s = now_s
    state.ends[s] = now_s + duration_s


@inner
def _complete(state: State, s: int, at_s: float) -> None:
    """The running iteration is done: tokens for those that decode, progress for those that prefill."""
    slot, heap = state.slots[s], state.heap[s]
    duration_s = at_s - slot.started_s
    slot.busy_s += duration_s
    iterations, gaps, count = state.gap_iterations[s], state.gaps[s], slot.gaps
    while count > 0 and gaps[count - 1] <= duration_s:
        count -= 1
    if count == len(gaps):
        count = _compact(state, s, count)
    iterations[count], gaps[count] = slot.iteration, duration_s
    slot.gaps = count + 1
    while slot.ending > 0 and (heap[0] >> 32) <= slot.iteration:
        r = heap[0] & _LOW
        _delete(heap, slot.ending, np.int64(0))
        slot.ending -= 1
        _finish(state, s, r, at_s)
    for i in range(slot.planned):
        r = state.plan[s, i]
        work = state.work[r]
        work.prefilled += state.takes[s, i]
        if work.prefilled < work.target:
            slot.carried = r
            continue
        if math.isnan(state.first_token_s[r]):
            state.first_token_s[r] = at_s
        else:
            work.largest_gap_s = max(work.largest_gap_s, at_s - work.last_token_s)
        work.state = DECODING
        work.joined = slot.iteration
        slot.context += work.target
        if state.output_tokens[r] > 0:
            work.generated += 1
        left = np.int64(state.output_tokens[r] - work.generated)
        if left <= 0:
            _finish(state, s, r, at_s)
        else:
            _push(heap, slot.ending, ((slot.iteration + left) << 32) | r)
            slot.ending += 1
    if slot.ending == 0:
        slot.gaps = 0


@inner
def _decode(state: State, s: int, until_s: float) -> None:
    """Complete iterations that end by `until_s` and change nothing but numbers: nobody joins, finishes or is preempted at their ends."""
    slot = state.slots[s]
    physics = state.physics[slot.variant]
    batch, cap = slot.running, physics.kv_tokens
    kv, context, iteration = slot.kv_used, slot.context, slot.iteration
    if slot.waiting > 0 and not (
        batch >= physics.max_num_seqs or kv + batch + state.work[slot.first].target > cap or (physics.static_batch > 0 and slot.batch_left == 0)
    ):
        return
    finish = state.heap[s, 0] >> 32
    a, c, slowdown, jitter = physics.itl_a_s + physics.itl_b_s * batch, physics.itl_c_s, physics.slowdown, physics.jitter
    started_s, ends_s, busy_s = slot.started_s, state.ends[s], slot.busy_s
    iterations, gaps, count = state.gap_iterations[s], state.gaps[s], slot.gaps
    while ends_s <= until_s and iteration < finish and kv + batch <= cap:
        duration_s = ends_s - started_s
        busy_s += duration_s
        while count > 0 and gaps[count - 1] <= duration_s:
            count -= 1
        if count == len(gaps):
            count = _compact(state, s, count)
        iterations[count], gaps[count] = iteration, duration_s
        count += 1
        duration_s = a + c * context / 1e3
        if jitter > 0:
            duration_s *= _jittered(slot, jitter)
        started_s, ends_s = ends_s, ends_s + duration_s * slowdown
        iteration += 1
        context += batch
        kv += batch
    slot.kv_used, slot.context, slot.iteration = kv, context, iteration
    slot.started_s, slot.busy_s, slot.gaps = started_s, busy_s, count
    state.ends[s] = ends_s


@inner
def run(state: State, s: int, until_s: float) -> None:
    """Complete every iteration of slot `s` that ends by `until_s`."""
    while state.ends[s] <= until_s:
        if state.slots[s].planned == 0:
            _decode(state, s, until_s)
        at_s = state.ends[s]
        if at_s <= until_s:
            _complete(state, s, at_s)
            _begin(state, s, at_s)


@inner
def submit(state: State, s: Any, r: Any, now_s: float) -> None:
    """Queue request `r` at slot `s`, which has been run until `now_s`."""
    slot, work = state.slots[s], state.work[r]
    cached = min(state.cached_tokens[r], state.input_tokens[r] - 1)
    work.state, work.slot, work.after = WAITING, s, NONE
    work.target, work.prefilled, work.generated = state.input_tokens[r], cached, 0
    work.largest_gap_s, work.preemptions = 0.0, 0
    if slot.last == NONE:
        slot.first = r
    else:
        state.work[slot.last].after = r
    slot.last = r
    slot.waiting += 1
    slot.queued_tokens += work.target
    slot.booked += state.work[r].booked
    if state.ends[s] == math.inf:
        _begin(state, s, now_s)
