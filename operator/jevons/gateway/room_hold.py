"""Holds waiters until their variant can answer, and says when: in order, and not all at once.

A `Verdict` is what a waiter is told. `Go`: its variant has a pod that answers (for `SETTLE_S` already, so that Envoy has read the endpoints
file too), or another variant has just woken and the picker should choose again. `Fail`: the start failed, or nobody may start it any more. Time
running out is the waiter's own affair. A fresh pod gets `FIRST` requests, then twice as many every `STEP_S`, so that 500 waiters do not meet
cold caches together.

Requests that can wait (`Waiter.patient_until`) wait for a pod with little to do instead, behind everybody else; what they wait for is no demand until
their patience is over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jevons.core.load import Work
from jevons.gateway.room_queue import Line, RoomQueue, Waiter
from jevons.gateway.table import Model, Table, Variant

SETTLE_S = 0.05
FIRST = 4
STEP_S = 0.2
BROKEN_S = 5.0
"""So long a variant must be missing, capped or unavailable before its waiters are told: plans are replaced while they wait."""


@dataclass(frozen=True, slots=True)
class Go:
    """Ask the picker again, or relay to `variant`. `changed`: it is not the variant that was waited for."""

    variant: str
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """It will not start. `why` completes "<variant> ..." for the client."""

    why: str


Verdict = Go | Fail


@dataclass(slots=True)
class _LineState:
    """What has been seen of a variant since somebody began to wait for it."""

    others_ready: frozenset[str]
    offer: str = ""
    """Another variant that has woken meanwhile; `offered` waiters went to it in the last step."""
    offered: int = 0
    starting: bool = False
    broken_since: float | None = None
    draining: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Holder:
    """The room's waiters and their verdicts. `changed` is called when a line begins or ends to hold somebody."""

    queue: RoomQueue
    changed: Callable[[], None]
    table: Table = field(default_factory=Table)
    clock: Callable[[], float] = time.time
    outstanding: Callable[[Sequence[str], float], list[Work]] = lambda addresses, _now: [Work()] * len(addresses)
    """Work on each pod."""
    _verdicts: dict[int, asyncio.Future[Verdict]] = field(default_factory=dict)
    _lines: dict[Line, _LineState] = field(default_factory=dict)

    def join(self, waiter: Waiter, *, again: bool) -> asyncio.Future[Verdict]:
        """Hold `waiter`. `again`: it has been sent on before and came back, so only its own variant is good for it. Raises QueueFull."""
        model = self.table.models.get(waiter.model)
        first = self.queue.join(waiter, model_max=model.max_waiting if model else self.queue.max_count)
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._verdicts[id(waiter)] = verdict
        if first:
            ready = frozenset(one.name for one in model.variants if one.ready) if model else frozenset()
            self._lines[waiter.line] = _LineState(others_ready=ready)
            self.changed()
        waiter.settled = again
        self._consider(waiter.line)
        return verdict

    def resize(self, waiter: Waiter, size: int) -> None:
        """So many bytes of body are kept for it. Raises QueueFull when the room has no place for them; nothing happens when it waits no more."""
        if id(waiter) in self._verdicts and not self._verdicts[id(waiter)].done():
            self.queue.resize(waiter, size)

    def leave(self, waiter: Waiter) -> None:
        """The waiter is gone, by whatever way."""
        self._verdicts.pop(id(waiter), None)
        if self.queue.leave(waiter):
            self._tidy(waiter.line)

    def update(self, table: Table) -> None:
        """The world has changed: release, or give up on, whoever this concerns."""
        self.table = table
        self.tick()

    def tick(self) -> None:
        """Look at every line again (call it each second: some verdicts only need time)."""
        for line in self.queue.lines():
            self._consider(line)

    def fail_all(self, why: str) -> None:
        """The room closes."""
        for line in self.queue.lines():
            self._tell(line, self.queue.count, Fail(why))

    def seen(self, line: Line) -> tuple[Model | None, Variant | None]:
        """What the table says of a line."""
        model = self.table.models.get(line[0])
        return model, model.variant(line[1]) if model else None

    def _consider(self, line: Line) -> None:
        state = self._lines.get(line)
        if state is None or state.draining is not None:
            return
        model, variant = self.seen(line)
        if variant is not None and variant.ready:
            state.draining = asyncio.create_task(self._drain(line), name=f"release:{line[0]}@{line[1]}")
            return
        ready = [] if model is None else [one for one in model.variants if one.ready]
        why = self._broken(state, variant)
        if why:
            self._tell(line, self.queue.count, Go(ready[0].name, changed=True) if ready else Fail(why))
            return
        woken = [one for one in ready if one.name not in state.others_ready]
        state.others_ready = frozenset(one.name for one in ready)
        if woken:
            state.offer, state.offered = woken[0].name, 0
        other = next((one for one in ready if one.name == state.offer), None)
        if other is not None:
            state.offered = min(self.queue.max_count, max(2 * state.offered, FIRST * len(other.usable_pods)))
            self._offer(line, other.name, state.offered)

    def _broken(self, state: _LineState, variant: Variant | None) -> str:
        """Why this variant will not start; empty while it may. A failure counts only when it was seen to happen: the word may be an old one."""
        if variant is not None and variant.wakeable and variant.state != "Failed":
            state.starting, state.broken_since = True, None
            return ""
        if variant is not None and variant.state == "Failed":
            return "failed to start" if state.starting else ""
        state.broken_since = state.broken_since or self.clock()
        if self.clock() - state.broken_since < BROKEN_S:
            return ""
        if variant is None:
            return "does not exist any more"
        return "may not be started now: the budget is spent" if variant.state == "Capped" else "cannot serve now"

    def _offer(self, line: Line, woken: str, most: int) -> None:
        """Another variant woke: `most` of those not yet sent to the picker a second time may find it good enough."""
        fresh = [waiter for waiter in self.queue.waiting(line) if not waiter.settled]
        for waiter in fresh[:most]:
            verdict = self._verdicts.get(id(waiter))
            if verdict is not None and self.queue.leave(waiter):
                verdict.set_result(Go(woken, changed=True))
        self._tidy(line)

    async def _drain(self, line: Line) -> None:
        """Release `line` while its variant answers, doubling the number each step."""
        state = self._lines[line]
        most = 0
        try:
            await asyncio.sleep(SETTLE_S)
            while self._lines.get(line) is state:
                variant = self.seen(line)[1]
                if variant is None or not variant.ready:
                    return
                # those who can wait keep a line for hours: twice as many each step has no end
                most = min(self.queue.max_count, max(2 * most, FIRST * len(variant.usable_pods)))
                self._release(line, variant, most)
                await asyncio.sleep(STEP_S)
        finally:
            state.draining = None

    def _release(self, line: Line, variant: Variant, most: int) -> None:
        """Let `most` go; of those that can still wait only one for each pod that has little to do, and only when nobody else waits."""
        now, waiters = self.clock(), self.queue.waiting(line)
        if not any(waiter.patient_until > now for waiter in waiters):
            self._tell(line, most, Go(line[1]))
            return
        going = [waiter for waiter in waiters if waiter.patient_until <= now][:most]
        if not going:
            booked = self.outstanding([pod.address for pod in variant.usable_pods], now)
            going = waiters[: sum(work.tokens <= variant.idle_tokens for work in booked)]
        for waiter in going:
            verdict = self._verdicts.get(id(waiter))
            if self.queue.leave(waiter) and verdict is not None and not verdict.done():
                verdict.set_result(Go(line[1]))
        self._tidy(line)

    def _tell(self, line: Line, most: int, verdict: Verdict) -> None:
        for waiter in self.queue.release(line, most):
            future = self._verdicts.get(id(waiter))
            if future is not None and not future.done():
                future.set_result(verdict)
        self._tidy(line)

    def _tidy(self, line: Line) -> None:
        if line in self._lines and not self.queue.holds(line):
            del self._lines[line]
            self.changed()
