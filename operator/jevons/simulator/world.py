"""The loop of the simulator: requests and replicas (`fleet.py`), pods and money (`cluster.py`), and one competitor that decides.

    outcome = simulate(scenario, controller)

Between two instants at which anything else happens the fleet runs by itself. At such an instant pods come first (ready, gone, crashed), then an
arrival that finds nothing wanted (`wake`), then a scrape (`observe`), then the competitor's own period (`decide`): a decision sees a scrape of
the same second. That is fresher than life is, for everybody alike. A loading pod is in no scrape: its engine does not answer yet.

Most competitors see nothing but that. One whose real self sees more (our operator lists pods and hears its gateway) is an `Insider`: it is handed
`Inside`, takes from it what its real self would be told, and routes the requests that arrive. Nobody is told of an arrival before it happens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from jevons.simulator import shocks
from jevons.simulator.cluster import DRAINED, STARTING, Cluster, Pod
from jevons.simulator.fleet import Fleet
from jevons.simulator.kernel_patient import FOR_OTHERS
from jevons.simulator.policies.policy import Reading, Sample, View
from jevons.simulator.scenario import DEFAULT_RANK, Controller, Floats, Ints, Outcome, Requests, Scenario, inside

PATIENCE_S = 1.0
"""A wake that changed nothing is tried again at the first arrival this much later."""
SLOTS_EACH = 4
"""Room in the fleet for so many times the largest number of replicas: those that drain have theirs too."""
HOPELESS_S = 7200.0
"""The run ends this long after the last request can have been taken, whatever still runs."""


class Inside(Protocol):
    """What an `Insider` may look at and do. `route[i]` is the variant (by index) that request i goes to: its gateway's to write, until i arrives.

    Likewise `patience_s[i]`: how long i may wait for idle capacity, 0 = not at all; `booked[i]`: what it is taken to be in tokens, in and out.
    """

    scenario: Scenario
    route: Ints
    patience_s: Floats
    booked: Ints

    def arrived(self, now: float) -> Requests:
        """The requests that have arrived by `now`: a gateway has seen them."""

    def pods(self, index: int) -> Sequence[Pod]:
        """The pods of a variant that exist."""

    def scrape(self, now: float) -> Mapping[str, Sample]:
        """A scrape of every variant, taken now."""

    def counts(self, index: int, now: float) -> Sample:
        """What is counted in front of a variant's pods: a scrape of it without the pods."""

    def outcomes(self, now: float) -> tuple[int, int]:
        """Requests done by `now` (answered or refused), and how many of them were answered inside the objectives."""

    def busy_s(self, pod: Pod) -> float:
        """Seconds that the pod's accelerators have worked since it was last ready; 0 when it does not serve."""

    def held_since_s(self, index: int, now: float) -> float:
        """When the one arrived that has been held longest for a variant; `now` when nobody is held."""

    def patient(self, index: int) -> int:
        """How many others can still wait for idle capacity of the variant."""

    def keep_idle(self, index: int, tokens: float) -> None:
        """From now on a pod of the variant has room for them while no more than `tokens` of `booked` are inside."""

    def views(self) -> Mapping[str, View]:
        """What the API server says of every variant."""

    def mark(self, index: int, pods: frozenset[str]) -> None:
        """Pods of a variant that shall go first when it shrinks (pod-deletion-cost); replaces earlier marks."""

    def rest(self, index: int, pods: frozenset[str], now: float) -> None:
        """Pods of a variant that shall sleep in host memory; the others of it wake."""


@runtime_checkable
class Insider(Protocol):
    """A competitor that sees more than scrapes and views. `due_s`: when it wants to decide next, beside its period; infinite for not at all."""

    due_s: float

    def meet(self, inside: Inside) -> None:
        """Called once, before anything happens."""

    def turned(self, now: float, *, readied: bool) -> None:
        """Pods began (`readied`) or ceased to serve."""


def simulate(scenario: Scenario, controller: Controller, *, route: Ints | None = None) -> Outcome:
    """Run `controller` on `scenario` until every request is done or given up. Equal arguments give equal outcomes.

    route: index of the variant that each request goes to; None = the variant of the highest quality, of equals the first.
    A controller is stateful: use a fresh one for every run. Raises ValueError for a scenario without variants or requests.
    """
    if not scenario.variants or not len(scenario.requests):
        raise ValueError(f"scenario {scenario.name}: it needs at least one variant and one request")
    return _World(scenario, controller, route).run()


class Run:
    """What every run has, whatever its loop. It is the `Inside` of an Insider."""

    def __init__(self, scenario: Scenario, controller: Controller, fleet: Fleet) -> None:
        self.scenario = scenario
        self._controller = controller
        self._insider = controller if isinstance(controller, Insider) else None
        self._names = [variant.name for variant in scenario.variants]
        self._fleet = fleet
        self.route: Ints = fleet.route
        self.patience_s: Floats = fleet.patience_s
        self.booked: Ints = fleet.booked
        self._cluster = Cluster(scenario, fleet)
        self._seen_turns = self._seen_readied = 0
        self._scraped_s, self._scraped = -math.inf, dict[str, Sample]()

    def _arrived(self, now: float) -> int:
        return int(np.searchsorted(self.scenario.requests.at_s, now, "right"))

    def arrived(self, now: float) -> Requests:
        """See `Inside`."""
        return self.scenario.requests.first(self._arrived(now))

    def pods(self, index: int) -> Sequence[Pod]:
        """See `Inside`."""
        return self._cluster.pods(index)

    def outcomes(self, now: float) -> tuple[int, int]:
        """See `Inside`. Who waits longer than the limit was refused."""
        count, fleet = self._arrived(now), self._fleet
        requests = self.scenario.requests.first(count)
        first_s, end_s = np.asarray(fleet.first_token_s[:count]), np.asarray(fleet.end_s[:count])
        with np.errstate(invalid="ignore"):
            done = end_s <= now
            refused = ~np.isfinite(first_s) & (requests.at_s + self.scenario.max_wait_s <= now)
        good = done & inside(requests, first_s, end_s, self.scenario.objectives, self.scenario.classes, fleet.patience_s[:count])
        return int(done.sum() + refused.sum()), int(good.sum())

    def busy_s(self, pod: Pod) -> float:
        """See `Inside`."""
        return self._fleet.busy_s(pod.slot) if pod.slot is not None else 0.0

    def mark(self, index: int, pods: frozenset[str]) -> None:
        """See `Inside`."""
        self._cluster.victims[index] = pods

    def rest(self, index: int, pods: frozenset[str], now: float) -> None:
        """See `Inside`."""
        self._cluster.rest(index, pods, now)

    def views(self) -> dict[str, View]:
        """See `Inside`."""
        return {name: self._cluster.view(index) for index, name in enumerate(self._names)}

    def scrape(self, now: float) -> dict[str, Sample]:
        """See `Inside`."""
        if now != self._scraped_s:
            self._scraped_s = now
            self._scraped = {name: self._sample(index, now, tuple(self._fleet.readings(index))) for index, name in enumerate(self._names)}
        return self._scraped

    def counts(self, index: int, now: float) -> Sample:
        """See `Inside`."""
        return self._sample(index, now, ())

    def held_since_s(self, index: int, now: float) -> float:
        """See `Inside`. Who is held is served in order, so they are the last to have arrived; with classes they are looked at."""
        if self.scenario.classes:
            return min(now, self._fleet.oldest_s(index))
        held = self._fleet.counters(index).held
        mine = np.flatnonzero(self.route[: self._arrived(now)] == index)
        return float(self.scenario.requests.at_s[mine[-min(held, len(mine))]]) if held and len(mine) else now

    def patient(self, index: int) -> int:
        """See `Inside`."""
        return self._fleet.counters(index).patient

    def keep_idle(self, index: int, tokens: float) -> None:
        """See `Inside`."""
        self._fleet.keep_idle(index, tokens)

    def _sample(self, index: int, now: float, pods: tuple[Reading, ...]) -> Sample:
        counted = self._fleet.counters(index)
        return Sample(
            at_s=now,
            pods=pods,
            held=counted.held,
            held_tokens=counted.held_tokens,
            arrivals=counted.arrivals,
            completed=counted.completed,
            prompt_tokens=counted.prompt_tokens,
            output_tokens=counted.output_tokens,
        )

    def _apply(self, wanted: Mapping[str, int], now: float) -> None:
        for index, name in enumerate(self._names):
            if name in wanted:
                self._cluster.want(index, wanted[name], now)

    def _tell(self, now: float) -> None:
        """Let an Insider know when pods began or ceased to serve."""
        turns, readied = self._cluster.turns, self._cluster.readied
        if self._insider is not None and turns != self._seen_turns:
            self._insider.turned(now, readied=readied != self._seen_readied)
        self._seen_turns, self._seen_readied = turns, readied


class _World(Run):
    """One run of any scenario."""

    def __init__(self, scenario: Scenario, controller: Controller, route: Ints | None) -> None:
        qualities = [variant.quality for variant in scenario.variants]
        best = qualities.index(max(qualities))
        fleet = Fleet(
            [variant.physics for variant in scenario.variants],
            scenario.requests,
            seed=scenario.seed,
            max_replicas=SLOTS_EACH * sum(max(variant.max_replicas, variant.initial_replicas) for variant in scenario.variants),
            route=np.full(len(scenario.requests), best, np.int32) if route is None else route,
            max_wait_s=scenario.max_wait_s,
            dispatch=scenario.dispatch,
            ranks=(DEFAULT_RANK, *(one.rank for one in scenario.classes)),
            max_waiting=math.ceil(FOR_OTHERS * scenario.max_waiting),
        )
        super().__init__(scenario, controller, fleet)
        self._at_s = scenario.requests.at_s
        self._last_arrival_s = float(self._at_s[-1])
        self._sample_s, self._decide_s, self._row_s = 0.0, controller.period_s, 0.0
        self._wake_after_s = -math.inf
        self._timeline: list[tuple[float, ...]] = []

    def run(self) -> Outcome:
        """Until nothing is left to do."""
        if self._insider is not None:
            self._insider.meet(self)
        now, end_s = 0.0, self._last_arrival_s + self.scenario.max_wait_s + self.scenario.drain_limit_s + HOPELESS_S
        while now < end_s:
            wake_s, wake = self._next_wake(now)
            due_s = max(now, self._insider.due_s) if self._insider is not None else math.inf
            now = min(self._cluster.next_s, wake_s, self._sample_s, self._decide_s, self._row_s, due_s, end_s)
            self._fleet.advance(now)
            self._cluster.step(now)
            self._tell(now)
            if now >= wake_s:
                self._wake(now, wake)
            if now >= self._sample_s:
                self._controller.observe(self.scrape(now))
                self._sample_s = next_multiple(now, self._controller.sample_s)
            if now >= min(self._decide_s, self._insider.due_s if self._insider is not None else math.inf):
                self._apply(self._controller.decide(now, self.views()), now)
                self._decide_s = next_multiple(now, self._controller.period_s) if now >= self._decide_s else self._decide_s
            if now >= self._row_s:
                self._row_s = next_multiple(now, self.scenario.scrape_s)
                if self._row(now) and now >= self._last_arrival_s:
                    break
        return self._outcome()

    def _next_wake(self, now: float) -> tuple[float, int]:
        """When the next request arrives, or its patience ends, for a variant of which nothing is wanted, or all sleeps, and which.

        Infinite when there is none.
        """
        best, after_s = (math.inf, -1), max(now, self._wake_after_s)
        for index, wanted in enumerate(self._cluster.wanted):
            if wanted == 0 or self._cluster.rests(index):
                best = min(best, (min(self._next_arrival(index, after_s), max(after_s, self._fleet.due_s(index))), index))
        return best

    def _next_arrival(self, index: int, after_s: float) -> float:
        """When the first request after `after_s` arrives that goes to the variant."""
        first = int(np.searchsorted(self._at_s, after_s, "right"))
        while first < len(self._at_s):
            found = np.flatnonzero(self.route[first : first + 1024] == index)
            if len(found):
                return float(self._at_s[first + found[0]])
            first += 1024
        return math.inf

    def _wake(self, now: float, index: int) -> None:
        """A request waits for a variant that nobody wants."""
        if self._fleet.counters(index).held:
            self._apply(self._controller.wake(now, {self._names[index]: self._cluster.view(index)}), now)
            self._wake_after_s = now + PATIENCE_S

    def _row(self, now: float) -> bool:
        """One row of the timeline; whether the fleet has nothing left to do."""
        views, samples = self.views().values(), self.scrape(now).values()
        running = sum([reading.running for sample in samples for reading in sample.pods])
        waiting = sum([reading.waiting for sample in samples for reading in sample.pods])
        held = sum(sample.held for sample in samples) + sum(self._fleet.counters(index).patient for index in range(len(self._names)))
        ready, starting, pending = (sum(getattr(view, state) for view in views) for state in ("ready", "starting", "pending"))
        self._timeline.append((now, ready, starting, pending, running, waiting, held))
        return running + waiting + held == 0

    def _outcome(self) -> Outcome:
        scenario, fleet = self.scenario, self._fleet
        end_s = np.where(np.isfinite(fleet.end_s), fleet.end_s, -math.inf)
        ended_s = max(self._last_arrival_s, float(end_s.max()))
        bill = self._cluster.close(ended_s)
        held = bill.seconds(scenario.burn_in_s, ended_s)
        gpu_s = {key: seconds * scenario.variants[key[0]].accelerators for key, seconds in held.items()}
        return Outcome(
            first_token_s=np.array(fleet.first_token_s),
            end_s=np.array(fleet.end_s),
            largest_gap_s=np.array(fleet.largest_gap_s),
            variant=np.array(fleet.variant, np.int32),
            usd=shocks.usd(scenario, bill, ended_s),
            gpu_s=sum(gpu_s.values()),
            starting_gpu_s=sum(seconds for (_, kind), seconds in gpu_s.items() if kind == STARTING),
            drained_gpu_s=sum(seconds for (_, kind), seconds in gpu_s.items() if kind == DRAINED),
            scale_events=self._cluster.scale_events,
            failed_starts=self._cluster.failed_starts,
            timeline=np.array(self._timeline, np.float64),
            ended_s=ended_s,
            waited_s=np.array(fleet.waited_s),
            patience_s=np.array(fleet.patience_s),
        )


def next_multiple(now: float, period_s: float) -> float:
    """The first multiple of the period after `now`."""
    return (math.floor(now / period_s + 1e-9) + 1) * period_s
