"""The compiled fleet against the token-level engine with a dispatcher in plain Python: the same times, whatever happens to replicas."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from engine_profiles import profiles
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jevons.simulator.engine import Engine, Request, Result
from jevons.simulator.fleet import Fleet
from jevons.simulator.scenario import Physics, Requests
from jevons.simulator.static import load, run
from jevons.simulator.workload import Arrival

physics = st.builds(Physics, profile=profiles, slowdown=st.sampled_from([1.0, 1.0, 1.3]))
rows = st.lists(
    st.tuples(st.floats(0, 2), st.integers(1, 150), st.integers(0, 90), st.integers(0, 160), st.sampled_from([0, 0, 1, -1])), min_size=1, max_size=25
)
"""(arrival, input, output, cached, variant)."""
deeds = st.lists(
    st.tuples(st.sampled_from(["ready", "ready", "drain", "lose", "retry", "advance", "look"]), st.floats(0, 0.8), st.integers(0, 5)), max_size=14
)
"""(what, seconds later, to whom)."""
SLOTS = 4
MAX_WAIT_S = 0.7


def table(plan):
    """The rows in order of arrival, and the variant each asks for."""
    at_s, given, wanted, cached, variant = (list(column) for column in zip(*sorted(plan, key=lambda row: row[0]), strict=True))
    ints = (np.array(column, np.int32) for column in (given, wanted, cached))
    return Requests(np.array(at_s), *ints, np.zeros(len(at_s), np.float32)), np.array(variant, np.int32)


@dataclass
class Plain:
    """What `Fleet` promises, in as few words as possible."""

    variants: list[Physics]
    requests: Requests
    route: np.ndarray
    engines: dict[int, tuple[int, Engine]] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)
    held: dict[int, list[int]] = field(default_factory=dict)
    results: dict[int, Result] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    next: int = 0
    now_s: float = -math.inf

    def send(self, number: int, variant: int, now_s: float) -> None:
        slots = sorted(slot for slot in self.open if self.engines[slot][0] == variant)
        if not slots:
            self.held.setdefault(variant, []).append(number)
            self.held[variant].sort()
            return
        for slot in slots:
            self.engines[slot][1].advance(now_s)
        engine = self.engines[min(slots, key=lambda slot: load(self.engines[slot][1]))][1]
        sizes = (int(column[number]) for column in (self.requests.input_tokens, self.requests.output_tokens, self.requests.cached_tokens))
        engine.submit(Request(str(number), *sizes), now_s)

    def settle(self) -> None:
        for variant, held in list(self.held.items()):
            late = [number for number in held if self.now_s - self.requests.at_s[number] > MAX_WAIT_S]
            self.refused.update(late)
            self.held[variant] = []
            for number in held:
                if number not in late:
                    self.send(number, variant, self.now_s)

    def advance(self, to_s: float, *, inclusive: bool = True) -> None:
        self.settle()
        while self.next < len(self.requests):
            at_s, number = float(self.requests.at_s[self.next]), self.next
            if at_s > to_s or (at_s == to_s and not inclusive):
                break
            self.next += 1
            variant = int(self.route[number])
            size = self.requests.input_tokens[number] + self.requests.output_tokens[number]
            if variant < 0 or size > self.variants[variant].profile.kv_tokens:
                self.refused.add(number)
            else:
                self.send(number, variant, at_s)
        for variant, engine in self.engines.values():
            engine.advance(to_s)
            self.results.update((int(result.request_id), (variant, result)) for result in engine.take_results())
        self.now_s = to_s

    def ready(self, variant: int, slot: int) -> None:
        shape = self.variants[variant]
        self.engines[slot] = variant, Engine(shape.profile, slowdown=shape.slowdown, every_token=False)
        self.open.add(slot)

    def kill(self, slot: int, *, retry: bool) -> int:
        variant, engine = self.engines.pop(slot)
        self.open.discard(slot)
        inside = sorted(int(name) for name in engine._known)
        if retry:
            self.held.setdefault(variant, []).extend(inside)
            self.held[variant].sort()
        else:
            self.lost.update(inside)
        return len(inside)


def compare(fleet: Fleet, plain: Plain) -> None:
    """Every column, to a millionth of a second."""
    for number in range(len(plain.requests)):
        if number in plain.results:
            variant, result = plain.results[number]
            assert fleet.variant[number] == variant
            assert math.isclose(fleet.first_token_s[number], result.first_token_s, rel_tol=0, abs_tol=1e-6)
            assert math.isclose(fleet.end_s[number], result.ended_s, rel_tol=0, abs_tol=1e-6)
            assert math.isclose(fleet.largest_gap_s[number], result.largest_gap_s, rel_tol=0, abs_tol=1e-6)
            assert fleet.preemptions[number] == result.preemptions
        else:
            assert fleet.variant[number] == -1
            assert math.isnan(fleet.end_s[number])


def look(fleet: Fleet, plain: Plain, slots: dict[int, int]) -> None:
    """What a scrape sees is what the engines say."""
    plain.settle()
    for variant in (0, 1):
        held = plain.held.get(variant, [])
        counters = fleet.counters(variant)
        assert counters.held == len(held)
        assert counters.held_tokens == sum(int(plain.requests.input_tokens[number]) for number in held)
        done = [number for number, (answered, _) in plain.results.items() if answered == variant]
        assert counters.completed == len(done)
        assert counters.output_tokens == sum(int(plain.requests.output_tokens[number]) for number in done)
        assert counters.prompt_tokens == sum(int(plain.requests.input_tokens[number]) for number in done)
        readings = fleet.readings(variant)
        inside = 0
        for slot, engine in sorted((slot, engine) for slot, (of, engine) in plain.engines.items() if of == variant and engine.next_event_at()):
            reading = next(reading for reading in readings if reading.pod == fleet.pod(slot))
            assert (reading.running, reading.waiting, reading.kv_tokens) == (engine.running, engine.waiting, engine.kv_used)
            assert reading.leaving == (slot not in plain.open)
            assert reading.queued_tokens == sum(sequence.target for sequence in engine._waiting)
            assert fleet.booked_tokens(slot) == engine.booked_tokens
            assert math.isclose(fleet.busy_s(slot), engine.busy_s(plain.now_s), abs_tol=1e-6)
            inside += engine.running + engine.waiting
        assert counters.arrivals == counters.completed + counters.refused + counters.lost + counters.held + inside
        assert len(readings) == sum(1 for slot, (of, engine) in plain.engines.items() if of == variant and (slot in slots or engine.next_event_at()))


@settings(max_examples=60, deadline=None)
@given(shape=physics, plan=rows, replicas=st.integers(1, 4))
def test_a_fixed_fleet_gives_the_times_of_the_reference(shape, plan, replicas):
    plan = [(at_s, given, wanted, 0, 0) for at_s, given, wanted, _, _ in plan if given + wanted <= shape.profile.kv_tokens]
    if not plan:
        return
    requests, _ = table(plan)
    fleet = Fleet([Physics(shape.profile)], requests, max_replicas=replicas)
    for _ in range(replicas):
        fleet.ready(0, 0.0)
    fleet.advance(math.inf)
    arrivals = [Arrival(at_s, given, wanted) for at_s, given, wanted, _, _ in sorted(plan, key=lambda row: row[0])]
    for number, served in enumerate(run(arrivals, replicas=replicas, profile=shape.profile)):
        assert math.isclose(fleet.first_token_s[number], served.result.first_token_s, rel_tol=0, abs_tol=1e-6)
        assert math.isclose(fleet.end_s[number], served.result.ended_s, rel_tol=0, abs_tol=1e-6)
        assert math.isclose(fleet.largest_gap_s[number], served.result.largest_gap_s, rel_tol=0, abs_tol=1e-6)
        assert fleet.preemptions[number] == served.result.preemptions


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(variants=st.lists(physics, min_size=2, max_size=2), plan=rows, story=deeds)
def test_starts_drains_and_deaths_mean_what_they_mean_to_single_engines(variants, plan, story):
    requests, route = table(plan)
    fleet = Fleet(variants, requests, max_replicas=SLOTS, route=route, max_wait_s=MAX_WAIT_S)
    plain = Plain(variants, requests, route)
    live: dict[int, int] = {}
    leaving: list[int] = []
    at_s = 0.0
    for what, later_s, whom in [("ready", 0.0, 0), *story]:
        at_s += later_s
        if what in ("advance", "look"):
            fleet.advance(at_s)
            plain.advance(at_s)
            if what == "look":
                look(fleet, plain, live)
            for slot in [slot for slot in leaving if fleet.gone(slot)]:
                assert plain.engines.pop(slot)[1].next_event_at() is None
                leaving.remove(slot)
        elif what == "ready" and len(plain.engines) < SLOTS:
            slot = fleet.ready(whom % 2, at_s)
            assert slot not in plain.engines
            plain.advance(at_s, inclusive=False) if at_s > plain.now_s else None
            plain.ready(whom % 2, slot)
            live[slot] = whom % 2
        elif live and what != "ready":
            slot = list(live)[whom % len(live)]
            del live[slot]
            plain.advance(at_s, inclusive=False) if at_s > plain.now_s else None
            if what == "drain":
                fleet.drain(slot, at_s)
                plain.open.discard(slot)
                leaving.append(slot)
            else:
                assert fleet.kill(slot, at_s, retry=what == "retry") == plain.kill(slot, retry=what == "retry")
    fleet.advance(math.inf)
    plain.advance(math.inf)
    plain.settle()
    compare(fleet, plain)
    counters = [fleet.counters(variant) for variant in (0, 1)]
    assert sum(one.completed for one in counters) == len(plain.results)
    assert sum(one.lost for one in counters) == len(plain.lost)
    assert sum(one.held for one in counters) == 0
    unwanted = int((route == -1).sum())
    assert sum(one.refused for one in counters) + unwanted == len(plain.refused)
    assert len(plain.results) + len(plain.lost) + len(plain.refused) == len(requests)


@settings(max_examples=60, deadline=None)
@given(shape=physics, plan=rows, cuts=st.lists(st.floats(0, 4), max_size=12), jitter=st.sampled_from([0.0, 0.376]), batch=st.sampled_from([0, 0, 3]))
def test_how_the_time_is_sliced_changes_nothing(shape, plan, cuts, jitter, batch):
    requests, _ = table(plan)

    def served(stops: list[float]) -> Fleet:
        fleet = Fleet([Physics(shape.profile, jitter, shape.slowdown, batch)], requests, seed=3)
        fleet.ready(0, 0.0)
        fleet.ready(0, 0.0)
        for stop in [*stops, math.inf]:
            fleet.advance(stop)
            fleet.readings(0)
        return fleet

    whole, sliced = served([]), served(sorted(cuts))
    for column in ("first_token_s", "end_s", "largest_gap_s", "variant"):
        assert np.array_equal(getattr(whole, column), getattr(sliced, column), equal_nan=True)
