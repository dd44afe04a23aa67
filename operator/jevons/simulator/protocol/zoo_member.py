"""One member of a zoo: a model with at most one replica, asleep most of the time, and what its sleep cost.

The same cluster, the same engine and the same competitors as in `world.py`; what differs is the loop. A day of a zoo is 200 members times thousands
of ticks at which nothing can change, so ticks are left out where the competitor provably answers as before:

* asleep, with nothing held, longer than the competitor remembers, and farther than that before the next arrival: all its windows hold the same zeros;
* Jevons with a replica that sleeps in host memory: until its history says otherwise, or a request arrives;
* Jevons with a loaded replica: no pass can let go within `SHORTEST_S` of an arrival, nor, once its work is done, before the time that its history
  says; nothing but an arrival changes that. What the passes left out would have learned of gaps is learned all the same, and before the next pass
  there are scrapes for as long as its readings look back.

`run(..., every_tick=True)` leaves out nothing; tests hold the two to the same figures.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jevons.core.idle import SHORTEST_S
from jevons.simulator.cluster import RESTING, STARTING, WAKING
from jevons.simulator.fleet import Fleet
from jevons.simulator.protocol.zoo_figures import DAY_S, MemberRun, figures
from jevons.simulator.scenario import Controller, Scenario
from jevons.simulator.world import PATIENCE_S, Run, next_multiple

FRESH_S = 30.0
"""Jevons' passes begin again so long before an arrival: what it remembers is of calls and not of silence."""
READ_S = 105.0
"""What a pass reads goes back to scrapes of so long ago: rates over a minute, and two scrapes more."""


@runtime_checkable
class Resting(Protocol):
    """A competitor that says how long its last decision holds. `sparse_s`: its passes may be so far apart while requests arrive."""

    sparse_s: float

    def rests_until(self, now: float) -> float:
        """Until when a loaded (or sleeping) replica stays so whatever is looked at, unless a request arrives; not above `now`: not known."""

    def passes_over(self, at_s: Sequence[float]) -> None:
        """Passes at these times are left out; of calls it learns what they would have."""


@runtime_checkable
class Waking(Protocol):
    """A competitor that starts replicas without a call. `wakes_s`: when next; infinite for never."""

    @property
    def wakes_s(self) -> float:
        """See above."""


def run(
    scenario: Scenario, controller: Controller, *, remembers_s: float, end_s: float = DAY_S, since_s: float = 0.0, every_tick: bool = False
) -> MemberRun:
    """Run a competitor on one member until `end_s`; money stops there, and requests still waiting are answered. Scored is what lies after `since_s`.

    remembers_s: the longest window of the competitor. Raises ValueError for a scenario with more than one variant, or no requests.
    """
    if len(scenario.variants) != 1 or not len(scenario.requests):
        raise ValueError(f"{scenario.name}: a member has one variant and at least one request")
    return _Member(scenario, controller, remembers_s, end_s, since_s=since_s, every_tick=every_tick).run()


class _Member(Run):
    """One run of one member."""

    def __init__(self, scenario: Scenario, controller: Controller, remembers_s: float, end_s: float, *, since_s: float, every_tick: bool) -> None:
        physics = scenario.variants[0].physics
        fleet = Fleet([physics], scenario.requests, seed=scenario.seed, max_replicas=8, max_wait_s=scenario.max_wait_s)
        super().__init__(scenario, controller, fleet)
        self._remembers_s, self._end_s, self._since_s, self._every_tick = remembers_s, end_s, since_s, every_tick
        self._resting = controller if isinstance(controller, Resting) and not every_tick else None
        self._at: list[float] = scenario.requests.at_s.tolist()
        self._sample_s = self._decide_s = 0.0
        self._asleep_since_s: float | None = None
        self._wake_after_s = -math.inf

    def run(self) -> MemberRun:
        """The day, and what is left of it."""
        if self._insider is not None:
            self._insider.meet(self)
        now, last_s = 0.0, self._end_s + 4.0 * self.scenario.variants[0].startup.median_s + 1200.0
        while now < last_s:
            wake_s = self._next_wake(now)
            due_s = max(now, self._insider.due_s) if self._insider is not None else math.inf
            now = min(self._cluster.next_s, wake_s, self._sample_s, self._decide_s, due_s, last_s)
            self._fleet.advance(now)
            self._cluster.step(now)
            self._tell(now)
            if now >= wake_s and self._fleet.counters(0).held:
                self._apply(self._controller.wake(now, self.views()), now)
                self._wake_after_s = now + PATIENCE_S
            if now >= self._sample_s:
                self._controller.observe(self.scrape(now))
                self._sample_s = next_multiple(now, self._controller.sample_s)
            if now >= min(self._decide_s, due_s):
                self._apply(self._controller.decide(now, self.views()), now)
                self._decide_s = next_multiple(now, self._controller.period_s) if now >= self._decide_s else self._decide_s
                if not self._every_tick:
                    self._skip(now)
            if now >= max(self._end_s, self._at[-1]) and not self._fleet.counters(0).held:
                break
        return self._figures()

    def _skip(self, now: float) -> None:
        """Leave out ticks at which the competitor can only answer as before (see the module)."""
        if self._cluster.wanted[0] == 0 and not self._cluster.pods(0) and not self._fleet.counters(0).held:
            self._asleep_since_s = now if self._asleep_since_s is None else self._asleep_since_s
            if now - self._asleep_since_s >= self._remembers_s:
                wakes_s = self._controller.wakes_s if isinstance(self._controller, Waking) else math.inf
                before_s = self._remembers_s if self._resting is None else min(self._remembers_s, FRESH_S)
                until_s = min(self._next_arrival(now) - before_s, wakes_s)
                minute_s = math.floor(min(until_s, self._end_s) / 60.0) * 60.0
                self._sample_s, self._decide_s = max(self._sample_s, minute_s), max(self._decide_s, minute_s)
            return
        self._asleep_since_s = None
        if self._resting is not None and (self._cluster.view(0).ready or self._cluster.rests(0)):
            self._rest(now, self._resting)

    def _rest(self, now: float, resting: Resting) -> None:
        """Leave out passes of a loaded replica that can change nothing, and the scrapes that no pass reads."""
        period_s = self._controller.period_s
        calm_s = resting.rests_until(now)
        if calm_s > now:
            self._decide_s = max(self._decide_s, next_multiple(min(calm_s, self._next_arrival(now)) - 1e-6, period_s))
        else:
            left_out = []
            while self._cluster.view(0).ready and self._decide_s - now < resting.sparse_s:
                before = bisect_right(self._at, self._decide_s) - 1
                if before < 0 or self._decide_s - self._at[before] >= SHORTEST_S:
                    break
                left_out.append(self._decide_s)
                self._decide_s += period_s
            resting.passes_over(left_out)
        self._sample_s = max(self._sample_s, next_multiple(self._decide_s - READ_S, self._controller.sample_s))

    def _arrived(self, now: float) -> int:
        return bisect_right(self._at, now)

    def _next_arrival(self, after_s: float) -> float:
        place = bisect_right(self._at, after_s)
        return self._at[place] if place < len(self._at) else math.inf

    def _next_wake(self, now: float) -> float:
        return self._next_arrival(max(now, self._wake_after_s)) if self._cluster.wanted[0] == 0 or self._cluster.rests(0) else math.inf

    def held_since_s(self, index: int, now: float) -> float:
        """See `Inside`."""
        held, arrived = self._fleet.counters(index).held, self._arrived(now)
        return self._at[arrived - min(held, arrived)] if held and arrived else now

    def _figures(self) -> MemberRun:
        startup_s = self.scenario.variants[0].startup.median_s
        bill = self._cluster.close(max(self._end_s, self._fleet.now_s))
        self._fleet.advance(math.inf)
        stretches = [(kind, begin, min(end, self._end_s)) for _, kind, begin, end in bill.stretches if begin < self._end_s]
        spans = {wanted: sorted((begin, end) for kind, begin, end in stretches if kind == wanted) for wanted in (STARTING, RESTING, WAKING)}
        sleep = self.scenario.variants[0].sleep
        return figures(
            self.scenario.requests,
            self._fleet.first_token_s,
            self._fleet.end_s,
            spans[STARTING],
            sorted((begin, end) for kind, begin, end in stretches if kind not in spans),
            until_s=self._end_s,
            startup_s=startup_s,
            since_s=self._since_s,
            resting=spans[RESTING],
            waking=spans[WAKING],
            holding=0.0 if sleep is None else sleep.holding,
        )
