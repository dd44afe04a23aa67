"""What the compiled simulator works on: one named tuple of arrays.

A *slot* is one replica, a row of `slots`; a *request* a row of `work`. Waiting queues, batches and the queues of held requests are chains through the
rows' `before` and `after` (row numbers, `NONE` at the ends), so a request is in exactly one of them. Tokens are counts, times seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jevons.core.load import TOKENS_PER_SEQUENCE
from jevons.simulator.scenario import Dispatch, Physics, Requests

NONE = -1
"""No request, no variant."""
NEW, HELD, WAITING, PREFILLING, DECODING, DONE, REFUSED, LOST = range(8)
"""What a request is (`work.state`)."""
FREE, READY, DRAINING = range(3)
"""What a slot is (`slots.state`)."""

SLOT = np.dtype(
    [
        *((name, np.int64) for name in ("variant", "state", "serial")),
        *((name, np.int64) for name in ("iteration", "context", "kv_used")),  # as in engine.Engine
        *((name, np.int64) for name in ("running", "oldest", "youngest")),  # the batch, in order of admission
        *((name, np.int64) for name in ("waiting", "first", "last", "queued_tokens")),  # the queue
        *((name, np.int64) for name in ("planned", "carried")),  # rows of plan; the prompt that is half done between iterations
        *((name, np.int64) for name in ("ending", "gaps", "batch_left")),  # entries of heap and of gaps; see Physics.static_batch
        *((name, np.float64) for name in ("started_s", "idle_since_s", "busy_s", "spare")),
        ("stream", np.uint64),
        ("has_spare", np.int64),
        ("booked", np.int64),  # tokens of the requests inside, as the gateway counts them
    ]
)
WORK = np.dtype(
    [
        *((name, np.int32) for name in ("state", "slot", "before", "after")),
        *((name, np.int32) for name in ("target", "prefilled", "generated", "joined", "preemptions")),  # as in engine._Sequence
        *((name, np.int32) for name in ("rank", "booked")),
        ("last_token_s", np.float64),
        ("largest_gap_s", np.float64),
        *((name, np.float64) for name in ("patience_s", "waited_s")),
    ],
    align=True,
)
PHYSICS = np.dtype(
    [
        *((name, np.float64) for name in ("itl_a_s", "itl_b_s", "itl_c_s", "prefill_p0_s", "prefill_p1_s", "prefill_p2_s")),
        *((name, np.int64) for name in ("kv_tokens", "max_num_seqs", "chunk_tokens", "static_batch")),
        ("jitter", np.float64),
        ("slowdown", np.float64),
    ]
)
COUNTS = np.dtype(
    [
        *((name, np.int64) for name in ("arrivals", "completed", "prompt_tokens", "output_tokens", "refused", "lost")),
        *((name, np.int64) for name in ("held", "held_tokens", "first", "last")),  # the queue in front of the replicas
        ("ready", np.int64),  # entries of `ready`
        *((name, np.int64) for name in ("patient", "patient_first", "patient_last")),  # the line behind it: those who wait for idle capacity
        *((name, np.float64) for name in ("look_s", "due_s")),  # when that line is looked at next, and when the first patience in it ends
        ("idle_tokens", np.float64),  # a replica with no more booked has room for one of them
    ]
)


class State(NamedTuple):
    """Everything. Shapes: n requests, v variants, m slots, k the largest batch of any variant."""

    at_s: NDArray[np.float64]
    input_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    cached_tokens: NDArray[np.int32]
    route: NDArray[np.int32]
    first_token_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    largest_gap_s: NDArray[np.float64]
    variant: NDArray[np.int32]
    work: Any
    """(n,) of WORK. rank: who goes first of those that are held (the smaller, of equals the earlier). booked: what the gateway takes it to be in
    tokens, in and out, until the last one is there. patience_s: how long it may wait for idle capacity. waited_s: from arrival to replica.
    """
    physics: Any
    """(v,) of PHYSICS."""
    counts: Any
    """(v,) of COUNTS."""
    slots: Any
    """(m,) of SLOT."""
    ends: NDArray[np.float64]
    """(m,): when the running iteration ends, inf while idle."""
    heap: NDArray[np.int64]
    """(m, k): decoding requests, by the iteration they finish in: iteration << 32 | request, a binary heap of `slots.ending` entries."""
    plan: NDArray[np.int64]
    """(m, k): requests whose prompts the running iteration pushes forward."""
    takes: NDArray[np.int64]
    """(m, k): by how many tokens."""
    gap_iterations: NDArray[np.int64]
    """(m, 2k + 8): iterations that took longer than all later ones of this batch, `slots.gaps` entries."""
    gaps: NDArray[np.float64]
    """(m, 2k + 8): and how long they took."""
    ready: NDArray[np.int64]
    """(v, m): the slots of each variant that take requests, ascending."""
    next: NDArray[np.int64]
    """(4,): the next request to arrive; who stands in the second lines of all variants, how many may stand in front of all, whether ranks differ."""
    now: NDArray[np.float64]
    """(1,): everything before this instant has happened."""
    dispatch: NDArray[np.int64]
    """(2 + v,): a `Dispatch`, what a sequence weighs in tokens, and per variant how many requests it has sent (by turns)."""
    lots: NDArray[np.float64]
    """(n, 2): what decides by chance, per request; no rows where nothing does."""


def new_state(
    variants: Sequence[Physics],
    requests: Requests,
    route: NDArray[np.int32],
    slots: int,
    dispatch: Dispatch,
    seed: int,
    ranks: Sequence[int],
    max_waiting: int,
) -> State:
    """Nothing has arrived and no replica is there. ranks: of each request class, the default one first."""
    n, most = len(requests), max(physics.profile.max_num_seqs for physics in variants)
    physics = np.zeros(len(variants), PHYSICS)
    for row, given in zip(physics, variants, strict=True):
        for name in PHYSICS.names or ():
            row[name] = getattr(given if hasattr(given, name) else given.profile, name)
    counts = np.zeros(len(variants), COUNTS)
    counts["first"] = counts["last"] = counts["patient_first"] = counts["patient_last"] = NONE
    counts["look_s"] = counts["due_s"] = math.inf
    work = np.zeros(n, WORK)
    work["rank"], work["booked"] = np.array(ranks, np.int32)[requests.klass], requests.input_tokens + requests.output_tokens
    ranked = n > 0 and work["rank"].min() != work["rank"].max()
    return State(
        at_s=np.array(requests.at_s, np.float64),
        input_tokens=np.array(requests.input_tokens, np.int32),
        output_tokens=np.array(requests.output_tokens, np.int32),
        cached_tokens=np.array(requests.cached_tokens, np.int32),
        route=route,
        first_token_s=np.full(n, math.nan),
        end_s=np.full(n, math.nan),
        largest_gap_s=np.full(n, math.nan),
        variant=np.full(n, NONE, np.int32),
        work=work,
        physics=physics,
        counts=counts,
        slots=np.zeros(slots, SLOT),
        ends=np.full(slots, math.inf),
        heap=np.zeros((slots, most), np.int64),
        plan=np.zeros((slots, most), np.int64),
        takes=np.zeros((slots, most), np.int64),
        gap_iterations=np.zeros((slots, 2 * most + 8), np.int64),
        gaps=np.zeros((slots, 2 * most + 8)),
        ready=np.zeros((len(variants), slots), np.int64),
        next=np.array([0, 0, max_waiting, ranked], np.int64),
        now=np.full(1, -math.inf),
        dispatch=np.array([dispatch, TOKENS_PER_SEQUENCE, *[0] * len(variants)], np.int64),
        lots=np.random.default_rng((seed, 9)).random((n if dispatch in {Dispatch.RANDOM, Dispatch.TWO_CHOICES} else 0, 2)),
    )
