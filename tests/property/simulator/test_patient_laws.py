"""Work that can wait, in the compiled fleet: the same as in plain Python, however the time is sliced, and nearly nobody's loss."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from engine_profiles import profiles
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_fleet_equals_the_engine import Plain

from jevons.core.spec import Profile
from jevons.simulator.engine import Engine
from jevons.simulator.fleet import Fleet
from jevons.simulator.kernel_patient import OF_THE_WAIT, SETTLE_S, STEP_S
from jevons.simulator.scenario import Physics, Requests

RANKS = (1, 4, 8)
rows = st.lists(
    st.tuples(st.floats(0, 2), st.integers(1, 150), st.integers(0, 90), st.sampled_from([0, 0, 1, 2]), st.sampled_from([0.0, 0.1, 0.4, 9.0])),
    min_size=1,
    max_size=20,
)
"""(arrival, input, output, class, patience)."""
deeds = st.lists(
    st.tuples(st.sampled_from(["ready", "ready", "drain", "lose", "retry", "advance"]), st.floats(0, 0.8), st.integers(0, 5)), max_size=10
)
SLOTS, MAX_WAIT_S = 4, 3.0


def table(plan: list[tuple[float, int, int, int, float]]) -> tuple[Requests, np.ndarray]:
    """The rows in order of arrival, and how long each is patient; who is of class 0 is not."""
    at_s, given_, wanted, klass, patience = (np.array(column) for column in zip(*sorted(plan, key=lambda row: row[0]), strict=True))
    n, ints = len(at_s), np.int32
    asked = Requests(at_s.astype(float), given_.astype(ints), wanted.astype(ints), np.zeros(n, ints), np.zeros(n, np.float32), klass.astype(np.int16))
    return asked, np.where(klass > 0, patience, 0.0)


def fleet_of(shape: Physics, asked: Requests, patience: np.ndarray, idle: float, *, max_waiting: int = 1000, max_wait_s: float = MAX_WAIT_S) -> Fleet:
    fleet = Fleet([shape], asked, max_replicas=SLOTS, seed=3, ranks=RANKS, max_waiting=max_waiting, max_wait_s=max_wait_s)
    fleet.patience_s[:] = patience
    fleet.keep_idle(0, idle)
    return fleet


@dataclass
class Patient(Plain):
    """The second line in as few words as possible, for one variant."""

    patience: np.ndarray = field(default_factory=lambda: np.zeros(0))
    idle: float = 0.0
    max_waiting: int = 1000
    line: list[int] = field(default_factory=list)
    look_s: float = math.inf

    def key(self, number: int) -> tuple[int, int]:
        return RANKS[self.requests.klass[number]], number

    def due_s(self, number: int) -> float:
        return float(self.requests.at_s[number]) + min(float(self.patience[number]), OF_THE_WAIT * MAX_WAIT_S)

    def roomy(self, now_s: float) -> int:
        for slot in self.open:
            self.engines[slot][1].advance(now_s)
        return sum(self.booked(self.engines[slot][1]) <= self.idle for slot in self.open)

    def booked(self, engine: Engine) -> int:
        return sum(int(self.requests.input_tokens[number] + self.requests.output_tokens[number]) for number in map(int, engine._known))

    def full(self) -> bool:
        return len(self.line) + len(self.held.get(0, [])) >= self.max_waiting

    def send(self, number: int, variant: int, now_s: float) -> None:
        super().send(number, variant, now_s)
        self.held.setdefault(0, []).sort(key=self.key)

    def settle(self) -> None:
        late = {number for number in self.held.get(0, []) if self.now_s - self.requests.at_s[number] > MAX_WAIT_S}
        waiting = [number for number in sorted(self.held.get(0, []), key=self.key) if number not in late]
        self.refused |= late
        self.held[0] = []
        for number in waiting:
            self.send(number, 0, self.now_s)

    def arrive(self, number: int, at_s: float) -> None:
        if self.requests.input_tokens[number] + self.requests.output_tokens[number] > self.variants[0].profile.kv_tokens:
            self.refused.add(number)
        elif self.patience[number] <= 0.0 or (self.open and (self.roomy(at_s) or self.full())):
            self.send(number, 0, at_s)
        elif self.full():
            self.refused.add(number)
        else:
            self.look_s = self.look_s if self.line else at_s + SETTLE_S
            self.line = sorted([*self.line, number], key=self.key)

    def event(self, now_s: float) -> None:
        over = [number for number in self.line if self.due_s(number) <= now_s]
        if not over:
            self.look_s += STEP_S
            over = self.line[: self.roomy(now_s)] if not self.held.get(0) else []
        self.line = [number for number in self.line if number not in over]
        for number in over:
            self.send(number, 0, now_s)

    def advance(self, to_s: float, *, inclusive: bool = True) -> None:
        self.settle()
        while True:
            arrival_s = float(self.requests.at_s[self.next]) if self.next < len(self.requests) else math.inf
            event_s = min([self.look_s, *map(self.due_s, self.line)]) if self.line else math.inf
            at_s = min(arrival_s, event_s)
            if at_s == math.inf or at_s > to_s or (at_s == to_s and not inclusive):
                break
            if event_s <= arrival_s:
                self.event(event_s)
            else:
                self.next += 1
                self.arrive(self.next - 1, at_s)
        for variant, engine in self.engines.values():
            engine.advance(to_s)
            self.results.update((int(result.request_id), (variant, result)) for result in engine.take_results())
        self.now_s = to_s


def played(fleet: Fleet, story: list[tuple[str, float, int]], cuts: list[float], plain: Patient | None = None) -> Fleet:
    """Live through a story of replicas, with stops in between."""
    live: list[int] = []
    at_s = 0.0
    for what, later_s, whom in [("ready", 0.0, 0), *story]:
        before_s, at_s = at_s, at_s + later_s
        for cut in sorted(cuts):
            if before_s < cut < at_s:
                fleet.advance(cut)
                fleet.readings(0)
        if what == "advance":
            fleet.advance(at_s)
            plain.advance(at_s) if plain is not None else None
            continue
        if (what == "ready" and len(live) == SLOTS) or (what != "ready" and not live):
            continue
        plain.advance(at_s, inclusive=False) if plain is not None and at_s > plain.now_s else None
        if what == "ready":
            if not np.any(fleet._state.slots["state"] == 0):  # somebody still drains
                continue
            live.append(fleet.ready(0, at_s))
            plain.ready(0, live[-1]) if plain is not None else None
            continue
        slot = live.pop(whom % len(live))
        if what == "drain":
            fleet.drain(slot, at_s)
            plain.open.discard(slot) if plain is not None else None
            continue
        fleet.kill(slot, at_s, retry=what == "retry")
        plain.kill(slot, retry=what == "retry") if plain is not None else None
    for cut in sorted(cuts):
        if cut > at_s:
            fleet.advance(cut)
            fleet.readings(0)
    fleet.advance(math.inf)
    return fleet


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shape=profiles, plan=rows, story=deeds, idle=st.sampled_from([0.0, 60.0, 400.0]), most=st.sampled_from([1000, 1000, 2]))
def test_the_second_line_is_what_it_is_in_plain_words(shape, plan, story, idle, most):
    asked, patience = table(plan)
    fleet = fleet_of(Physics(shape), asked, patience, idle, max_waiting=most)
    plain = Patient([Physics(shape)], asked, np.zeros(len(asked), np.int32), patience=patience, idle=idle, max_waiting=most)
    played(fleet, story, [], plain)
    plain.advance(math.inf)
    plain.settle()
    assert fleet.counters(0).refused == len(plain.refused)
    assert fleet.counters(0).patient == len(plain.line) == 0
    for number in range(len(asked)):
        if number in plain.results:
            assert math.isclose(fleet.first_token_s[number], plain.results[number][1].first_token_s, rel_tol=0, abs_tol=1e-6)
            assert math.isclose(fleet.end_s[number], plain.results[number][1].ended_s, rel_tol=0, abs_tol=1e-6)
        else:
            assert math.isnan(fleet.end_s[number])


@settings(max_examples=80, deadline=None)
@given(
    shape=st.builds(Physics, profile=profiles, jitter=st.sampled_from([0.0, 0.376])),
    plan=rows,
    story=deeds,
    cuts=st.lists(st.floats(0, 6), max_size=12),
    idle=st.sampled_from([0.0, 90.0]),
)
def test_how_the_time_is_sliced_changes_nothing_for_those_who_wait(shape, plan, story, cuts, idle):
    asked, patience = table(plan)
    whole, sliced = (played(fleet_of(shape, asked, patience, idle), story, stops) for stops in ([], [cut + 1e-5 * math.pi for cut in cuts]))
    for column in ("first_token_s", "end_s", "largest_gap_s", "variant", "waited_s"):
        assert np.array_equal(getattr(whole, column), getattr(sliced, column), equal_nan=True)


@settings(max_examples=150, deadline=None)
@given(
    now=st.lists(st.tuples(st.floats(0, 6), st.integers(1, 300), st.integers(1, 20)), min_size=1, max_size=6),
    later=st.lists(st.tuples(st.floats(0, 6), st.integers(1, 1500), st.integers(20, 150)), min_size=1, max_size=20),
)
def test_nobody_who_cannot_wait_is_later_than_by_the_one_patient_request_that_runs(now, later):
    """And by what the others cost whom it now meets in the batch, before and after."""
    profile = Profile(0.02, 0.0005, 0.0001, 0.02, 0.1, 0.002, kv_tokens=1_000_000, max_num_seqs=256, chunk_tokens=8192)
    shape, endless = Physics(profile), 1e9

    def served(patient: list[tuple[float, int, int]]) -> tuple[Fleet, np.ndarray]:
        asked, patience = table([(*row, 0, 0.0) for row in now] + [(*row, 2, endless) for row in patient])
        fleet = fleet_of(shape, asked, patience, 0.0, max_wait_s=endless)
        fleet.ready(0, 0.0)
        fleet.advance(math.inf)
        return fleet, asked.klass == 0

    (without, _), (beside, mine) = served([]), served(later)
    met = sum(
        profile.prefill_p1_s * k + profile.prefill_p2_s * k * k + (profile.itl_b_s + profile.itl_c_s) * o
        for k, o in ((i / 1e3, o) for _, i, o in now)
    )
    most = max(served_alone(shape, row) for row in later) + 2.0 * met
    assert beside.waited_s[mine].max() == 0.0
    assert (beside.first_token_s[mine] - without.first_token_s).max() <= most
    assert (beside.end_s[mine] - without.end_s).max() <= most


def served_alone(shape: Physics, row: tuple[float, int, int]) -> float:
    """How long one request takes that has a replica for itself [s]."""
    asked, patience = table([(*row, 0, 0.0)])
    fleet = fleet_of(shape, asked, patience, 0.0)
    fleet.ready(0, 0.0)
    fleet.advance(math.inf)
    return float(fleet.end_s[0] - asked.at_s[0])
