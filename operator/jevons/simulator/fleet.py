"""Replicas of several variants over one table of requests: where the offline simulator's requests meet its replicas.

Each replica is `engine.Engine`, compiled (`kernel.py`); the lines in front of them are `kernel_fleet.py`'s. The caller owns the clock: it says
when replicas become ready, drain and die, in order of time, and advances. Whatever happens at an instant happens before the arrivals of that instant,
unless the caller has already advanced to it. How the time is sliced changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jevons.simulator import kernel_fleet
from jevons.simulator.kernel_state import DRAINING, FREE, NONE, READY, new_state
from jevons.simulator.policies.policy import Reading
from jevons.simulator.scenario import Dispatch, Floats, Ints, Physics, Requests


@dataclass(frozen=True, slots=True)
class Counters:
    """Of one variant. The first six only grow; prompt and output tokens are those of completed requests.

    held, held_tokens: requests waiting in front of the replicas now, and their prompt tokens; patient: others that can still wait for idle capacity.
    arrivals = completed + refused + lost + held + patient + what is inside replicas.
    """

    arrivals: int
    completed: int
    prompt_tokens: int
    output_tokens: int
    refused: int
    lost: int
    held: int
    held_tokens: int
    patient: int


class Fleet:
    """See docs/designs/0006-the-simulator.md. `route[i]`: the variant request i asks for, -1 to have it refused on arrival; all 0 when None.

    Columns parallel to the requests, filled as they happen: `first_token_s`, `end_s`, `largest_gap_s` (NaN: not yet, or never) and `variant` (the one
    that answered; -1 before that). A request that is too large for its variant's KV cache is refused.
    ranks: of each request class, the default one first: who of those that wait goes first. max_waiting: so many may wait before somebody who can wait
    is kept no more (`kernel_patient.py`).
    Raises ValueError when there is no variant, no room for a replica, or requests that are out of order or impossible.
    """

    def __init__(
        self,
        variants: Sequence[Physics],
        requests: Requests,
        *,
        seed: int = 0,
        max_replicas: int = 64,
        route: Ints | None = None,
        max_wait_s: float = math.inf,
        dispatch: Dispatch = Dispatch.LEAST_LOAD,
        ranks: Sequence[int] = (0,),
        max_waiting: int = 1 << 30,
    ) -> None:
        if not variants or max_replicas < 1:
            raise ValueError(f"need at least one variant and room for one replica, not {len(variants)} and {max_replicas}")
        _check(requests, len(ranks))
        self.route: Ints = np.zeros(len(requests), np.int32)
        """May be changed for requests that have not arrived yet, here or by `set_route`."""
        self._state = new_state(variants, requests, self.route, max_replicas, dispatch, seed & (1 << 63) - 1, ranks, max_waiting)
        self._seed, self._max_wait_s = seed, float(max_wait_s)
        self._serials = [0] * len(variants)
        self._kv_tokens = [physics.profile.kv_tokens for physics in variants]
        if route is not None:
            self.set_route(0, route)

    @property
    def first_token_s(self) -> Floats:
        """When each request's first token came."""
        return self._state.first_token_s

    @property
    def end_s(self) -> Floats:
        """When each request's last token came."""
        return self._state.end_s

    @property
    def largest_gap_s(self) -> Floats:
        """The longest wait between two tokens of each finished request."""
        return self._state.largest_gap_s

    @property
    def variant(self) -> Ints:
        """Which variant answered each request; -1 for none (yet)."""
        return self._state.variant

    @property
    def patience_s(self) -> Floats:
        """How long each request may wait for idle capacity. May be changed for requests that have not arrived yet."""
        return np.asarray(self._state.work["patience_s"])

    @property
    def booked(self) -> Ints:
        """What the gateway takes each request to be in tokens, in and out. May be changed for requests that have not arrived yet."""
        return np.asarray(self._state.work["booked"])

    @property
    def waited_s(self) -> Floats:
        """How long each stood in front of the replicas before it went to one."""
        return np.asarray(self._state.work["waited_s"])

    @property
    def preemptions(self) -> Ints:
        """How often each request was preempted."""
        return np.asarray(self._state.work["preemptions"], np.int32)

    @property
    def now_s(self) -> float:
        """The instant everything has been simulated to; -inf at first."""
        return float(self._state.now[0])

    @property
    def arrived(self) -> int:
        """Requests that have arrived: the number of the next one."""
        return int(self._state.next[0])

    def set_route(self, from_index: int, route: Ints) -> None:
        """Send the requests from `from_index` on where `route` says; those behind its end stay as they were.

        Raises ValueError for requests that have arrived already, or a variant that does not exist.
        """
        given = np.asarray(route)
        if from_index < self.arrived or from_index + len(given) > len(self.route):
            raise ValueError(f"requests {from_index}..{from_index + len(given)} are not all still to come ({self.arrived} of {len(self.route)} have)")
        if len(given) and not (given.min() >= NONE and given.max() < len(self._serials)):
            raise ValueError(f"route: variants are 0..{len(self._serials) - 1}, or -1 to refuse")
        self.route[from_index : from_index + len(given)] = given

    def keep_idle(self, variant: int, tokens: float) -> None:
        """From now on a replica of the variant has room for a request that can wait while no more than `tokens` of `booked` are inside."""
        self._state.counts["idle_tokens"][variant] = tokens

    def due_s(self, variant: int) -> float:
        """When the patience of the first of those ends that wait for idle capacity of the variant; infinite while nobody does."""
        return float(self._state.counts["due_s"][variant])

    def oldest_s(self, variant: int) -> float:
        """When the one arrived that has been waiting in front of the variant for longest; infinite when nobody is."""
        found = math.inf
        for first in ("first", "patient_first"):
            place = int(self._state.counts[variant][first])
            while place != NONE:
                found = min(found, float(self._state.at_s[place]))
                place = int(self._state.work[place]["after"])
        return found

    def ready(self, variant: int, at_s: float) -> int:
        """A new replica takes requests from `at_s` on, those that are held first. Returns its slot.

        Raises ValueError when all slots are taken: one is free again after `kill`, and when `gone` has been seen to be True.
        """
        free = np.flatnonzero(self._state.slots["state"] == FREE)
        if not len(free):
            raise ValueError(f"all {len(self._state.slots)} slots are taken")
        self._reach(at_s)
        slot, serial = int(free[0]), self._serials[variant]
        self._serials[variant] += 1
        stream = np.random.SeedSequence((self._seed & (1 << 64) - 1, variant, serial)).generate_state(1, np.uint64)[0]
        kernel_fleet.ready(self._state, variant, slot, serial, stream)
        return slot

    def drain(self, slot: int, at_s: float) -> None:
        """The replica takes no new requests from `at_s` on and finishes those it has."""
        self._expect(slot, READY)
        self._reach(at_s)
        kernel_fleet.drain(self._state, slot)

    def gone(self, slot: int) -> bool:
        """Whether a replica that was drained is empty. Once seen, the slot may be given to a new replica: do not ask again."""
        if self._state.slots["state"][slot] == DRAINING and math.isinf(self._state.ends[slot]):
            self._state.slots["state"][slot] = FREE
        return bool(self._state.slots["state"][slot] == FREE)

    def gone_s(self, slot: int) -> float:
        """When the replica that was drained became empty; NaN while it is not."""
        return (
            float(self._state.slots["idle_since_s"][slot])
            if self._state.slots["state"][slot] != READY and math.isinf(self._state.ends[slot])
            else math.nan
        )

    def kill(self, slot: int, at_s: float, retry: bool) -> int:
        """The replica is gone at once. Returns how many requests it had.

        retry: they wait again in front of the replicas, ahead of all who came later, and begin anew; otherwise they are lost.
        """
        self._expect(slot, READY, DRAINING)
        self._reach(at_s)
        return int(kernel_fleet.kill(self._state, slot, retry))

    def advance(self, to_s: float) -> None:
        """Everything until and including `to_s` (inf: until all that can be answered is). Raises ValueError for the past."""
        if not to_s >= self.now_s:
            raise ValueError(f"{to_s} s is before {self.now_s} s")
        kernel_fleet.advance(self._state, float(to_s), True, self._max_wait_s)

    def readings(self, variant: int) -> list[Reading]:
        """What the metrics pages of the variant's replicas say now, by slot. A replica that is drained and empty has none."""
        self._settle()
        slots = self._state.slots
        live = np.flatnonzero(
            (slots["variant"] == variant) & ((slots["state"] == READY) | ((slots["state"] == DRAINING) & np.isfinite(self._state.ends)))
        )
        rows = slots[live][["serial", "running", "waiting", "kv_used", "queued_tokens", "state"]].tolist()
        capacity = self._kv_tokens[variant]
        return [
            Reading(f"{variant}-{serial}", running, waiting, kv_used, capacity, queued, state == DRAINING)
            for serial, running, waiting, kv_used, queued, state in rows
        ]

    def counters(self, variant: int) -> Counters:
        """What has happened to the variant's requests until now."""
        self._settle()
        row = self._state.counts[variant]
        return Counters(*(int(row[name]) for name in Counters.__slots__))

    def busy_s(self, slot: int) -> float:
        """Seconds the replica has spent in iterations until now, the unfinished one included."""
        row = self._state.slots[slot]
        running = math.isfinite(self._state.ends[slot])
        return float(row["busy_s"] + (self.now_s - row["started_s"] if running else 0.0))

    def booked_tokens(self, slot: int) -> int:
        """What the gateway takes the requests inside the replica to be in tokens, in and out, however much of them is done."""
        return int(self._state.slots["booked"][slot])

    def pod(self, slot: int) -> str:
        """The name under which the replica appears in `readings`."""
        row = self._state.slots[slot]
        return f"{row['variant']}-{row['serial']}"

    def _reach(self, at_s: float) -> None:
        """Everything before `at_s`, but not its arrivals."""
        if not self.now_s <= at_s < math.inf:
            raise ValueError(f"{at_s} s is before {self.now_s} s, or never")
        if at_s > self.now_s:
            kernel_fleet.advance(self._state, float(at_s), False, self._max_wait_s)

    def _settle(self) -> None:
        """Held requests whose replica has become ready, or whose time is up."""
        if self._state.counts["held"].any():
            kernel_fleet.advance(self._state, self.now_s, False, self._max_wait_s)

    def _expect(self, slot: int, *states: int) -> None:
        if self._state.slots["state"][slot] not in states:
            raise ValueError(f"slot {slot} has no replica that can do that")


def _check(requests: Requests, classes: int) -> None:
    """Raises ValueError for columns of different length, arrivals out of order, sizes that no engine can be asked for, and unknown classes."""
    n = len(requests)
    if any(len(column) != n for column in (requests.input_tokens, requests.output_tokens, requests.cached_tokens, requests.klass)):
        raise ValueError("requests: columns differ in length")
    if not np.isfinite(requests.at_s).all() or (np.diff(requests.at_s) < 0).any():
        raise ValueError("requests: at_s must be finite and in order")
    if (requests.input_tokens < 1).any() or (requests.output_tokens < 0).any() or (requests.cached_tokens < 0).any():
        raise ValueError("requests: need at least 1 input token, and no count below 0")
    if n and not 0 <= int(requests.klass.min()) <= int(requests.klass.max()) < classes:
        raise ValueError(f"requests: classes are 0..{classes - 1}")
