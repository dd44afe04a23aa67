"""Laws of the engine, under random requests, arrivals, aborts and tight memory."""

from __future__ import annotations

import math
from itertools import pairwise

from engine_profiles import profiles
from hypothesis import given, settings
from hypothesis import strategies as st

from jevons.simulator.engine import Engine, Request, TokenEvent

requests = st.lists(
    st.tuples(st.floats(0, 2), st.integers(1, 120), st.integers(0, 80), st.integers(0, 130), st.floats(0, 1)), min_size=1, max_size=12
)
"""(arrival, input, output, cached, patience): a client with patience below 0.1 leaves after that many seconds."""


def drive(engine: Engine, plan: list[tuple[float, int, int, int, float]]) -> list[TokenEvent]:
    """Submit in order of time, abort the impatient, and watch the bounds at every step."""
    actions = sorted(
        [(at_s, number, "submit") for number, (at_s, *_) in enumerate(plan)]
        + [(at_s + patience, number, "abort") for number, (at_s, _, _, _, patience) in enumerate(plan) if patience < 0.1],
        key=lambda action: action[0],
    )
    events: list[TokenEvent] = []

    def until(limit_s: float) -> None:
        while (at_s := engine.next_event_at()) is not None and at_s <= limit_s:
            events.extend(engine.advance(at_s))
            check(engine)

    for at_s, number, action in actions:
        until(at_s)
        if action == "submit":
            engine.submit(Request(str(number), *plan[number][1:4]), at_s)
        else:
            engine.abort(str(number), at_s)
        check(engine)
    until(math.inf)
    return events


def check(engine: Engine) -> None:
    """Batch and memory inside their bounds; never idle with work."""
    assert engine.running <= engine.profile.max_num_seqs
    assert 0 <= engine.kv_used <= engine.profile.kv_tokens
    assert engine.next_event_at() is not None or engine.running == engine.waiting == 0


@settings(max_examples=120, deadline=None)
@given(profile=profiles, plan=requests, jitter=st.sampled_from([0.0, 0.376]))
def test_every_token_comes_once_in_order_and_none_before_its_prefill(profile, plan, jitter):
    engine = Engine(profile, jitter=jitter, seed=1)
    events = drive(engine, plan)
    results = {result.request_id: result for result in engine.take_results()}
    assert results.keys() == {str(number) for number in range(len(plan))}
    assert engine.kv_used == 0
    for number, (arrived_s, _, output, _, _) in enumerate(plan):
        result, mine = results[str(number)], [event for event in events if event.request_id == str(number)]
        assert [event.index for event in mine if event.index] == list(range(1, result.tokens + 1))
        assert [event.at_s for event in mine] == sorted(event.at_s for event in mine)
        if result.finished:
            assert result.tokens == output
            assert [event.last for event in mine] == [False] * (len(mine) - 1) + [True]
            assert result.ended_s == mine[-1].at_s
        if mine:
            assert mine[0].at_s == result.first_token_s
            assert jitter or mine[0].at_s - arrived_s >= profile.prefill_p0_s
        gaps = [later.at_s - earlier.at_s for earlier, later in pairwise(mine)]
        if result.finished and gaps:
            assert math.isclose(result.largest_gap_s, max(gaps), rel_tol=1e-9, abs_tol=1e-12)
            assert math.isclose(result.itl_mean_s, sum(gaps) / len(gaps), rel_tol=1e-9)
    assert engine.counters.generated_tokens == sum(result.tokens for result in results.values())


@settings(max_examples=60, deadline=None)
@given(profile=profiles, plan=requests, jitter=st.sampled_from([0.0, 0.376]))
def test_same_input_same_answer_with_and_without_every_token(profile, plan, jitter):
    engines = [Engine(profile, jitter=jitter, seed=7, every_token=every) for every in (True, True, False)]
    for engine in engines:
        drive(engine, plan)
    first, second, quiet = (engine.take_results() for engine in engines)
    assert first == second
    assert sorted(first, key=lambda result: result.request_id) == sorted(quiet, key=lambda result: result.request_id)
    assert engines[0].counters == engines[2].counters


@settings(max_examples=60, deadline=None)
@given(profile=profiles, count=st.integers(1, 10), given_tokens=st.integers(1, 100), wanted=st.integers(1, 60))
def test_one_more_equal_request_makes_nothing_faster(profile, count, given_tokens, wanted):
    def worst(load: int) -> tuple[float, float]:
        engine = Engine(profile)
        for number in range(load):
            engine.submit(Request(str(number), given_tokens, wanted), 0.0)
        engine.advance(math.inf)
        results = engine.take_results()
        return max(result.first_token_s for result in results), max(result.ended_s for result in results)

    lighter, heavier = worst(count), worst(count + 1)
    assert heavier[0] >= lighter[0] - 1e-9
    assert heavier[1] >= lighter[1] - 1e-9


@settings(max_examples=60, deadline=None)
@given(profile=profiles, plan=requests)
def test_a_slower_engine_is_slower_by_its_factor_when_all_come_at_once(profile, plan):
    together = [(0.0, given_tokens, wanted, cached, 1.0) for _, given_tokens, wanted, cached, _ in plan]
    ends = []
    for slowdown in (1.0, 3.0):
        engine = Engine(profile, slowdown=slowdown)
        drive(engine, together)
        ends.append(max(result.ended_s for result in engine.take_results()))
    assert math.isclose(ends[1], 3 * ends[0], rel_tol=1e-9)
