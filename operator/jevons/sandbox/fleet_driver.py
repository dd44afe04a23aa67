"""One timer for all engines of the process.

Each engine knows when its running iteration ends. A heap of those instants and one timer wake whoever is due; instants are rounded up to a grid of
2 ms, so that hundreds of engines cost at most 500 wake-ups a second, and tokens that are due together leave together.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from typing import Protocol

GRID_S = 0.002
"""Wake-ups fall on multiples of this [s of the loop's clock]."""


class Timed(Protocol):
    """Something that wants to be woken."""

    armed_at: float | None
    """The instant it is in the heap for; the driver's own mark."""

    def next_event_at(self) -> float | None:
        """When [model s], or None."""

    def pump(self, now_s: float) -> None:
        """Do what is due."""


class Driver:
    """Model time is the loop's time multiplied by `time_scale`: at 10, ten seconds of an engine's life pass in one."""

    def __init__(self, *, time_scale: float = 1.0) -> None:
        self.time_scale = time_scale
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, Timed]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Model time now [s]."""
        return self._loop.time() * self.time_scale

    def arm(self, timed: Timed) -> None:
        """Wake it at its next event; call after anything that may have changed that."""
        at = timed.next_event_at()
        if at is None or at == timed.armed_at:
            return
        timed.armed_at = at
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, timed))
        if self._heap[0][2] is timed:
            self._set_timer()

    def close(self) -> None:
        """Wake nobody any more."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wall = self._heap[0][0] / self.time_scale
        self._timer = self._loop.call_at(math.ceil(wall / GRID_S) * GRID_S, self._wake)

    def _wake(self) -> None:
        now = self.now()
        while self._heap and self._heap[0][0] <= now:
            at, _, timed = heapq.heappop(self._heap)
            if timed.armed_at != at:
                continue
            timed.armed_at = None
            timed.pump(now)
            self.arm(timed)
        if self._heap:
            self._set_timer()
