from __future__ import annotations

import math

import pytest

from jevons.core.spec import Profile
from jevons.simulator.engine import Engine, Request

PROFILE = Profile(
    itl_a_s=0.010,
    itl_b_s=0.001,
    itl_c_s=0.0005,
    prefill_p0_s=0.02,
    prefill_p1_s=0.1,
    prefill_p2_s=0.01,
    kv_tokens=10_000,
    max_num_seqs=4,
    chunk_tokens=1000,
)


def run_all(engine: Engine) -> dict[str, object]:
    engine.advance(math.inf)
    return {result.request_id: result for result in engine.take_results()}


def test_alone_the_first_token_comes_after_prefill_and_the_others_at_the_profiles_pace():
    engine = Engine(PROFILE)
    engine.submit(Request("a", 1000, 3), 5.0)
    result = run_all(engine)["a"]
    assert result.ttft_s == pytest.approx(0.02 + 0.1 + 0.01)
    second, third = 0.010 + 0.001 + 0.0005 * 1.000, 0.010 + 0.001 + 0.0005 * 1.001
    assert result.itl_mean_s == pytest.approx((second + third) / 2)
    assert result.largest_gap_s == pytest.approx(third)


def test_a_long_prompt_is_prefilled_in_chunks_and_lets_others_decode_in_between():
    engine = Engine(PROFILE)
    engine.submit(Request("talking", 100, 20), 0.0)
    first = engine.next_event_at()
    engine.advance(first)
    engine.submit(Request("long", 3000, 1), first)
    events = engine.advance(math.inf)
    before = [event for event in events if event.request_id == "talking" and event.at_s < next(e.at_s for e in events if e.request_id == "long")]
    assert len(before) == 4, "the iteration that ran when it came, then three of four chunks: decoding takes one token of each chunk's budget"


def test_a_cached_prefix_costs_nothing_but_its_last_token_is_computed():
    engine = Engine(PROFILE)
    engine.submit(Request("hit", 1000, 1, cached_tokens=5000), 0.0)
    assert run_all(engine)["hit"].ttft_s == pytest.approx(0.02 + 0.1 * 0.001 + 0.01 * (1.0 - 0.999**2))
    assert engine.counters.computed_prompt_tokens == 1
    assert engine.counters.cached_prompt_tokens == 999


def test_full_memory_preempts_the_youngest_and_recomputes_it():
    engine = Engine(Profile(0.01, 0.001, 0.0, 0.01, 0.01, 0.0, kv_tokens=260))
    engine.submit(Request("old", 100, 100), 0.0)
    engine.submit(Request("young", 100, 100), 0.0)
    results = run_all(engine)
    assert results["old"].preemptions == 0
    assert results["young"].preemptions == 1
    assert results["young"].tokens == 100
    assert results["young"].largest_gap_s > 0.3
    assert engine.counters.computed_prompt_tokens > 200


def test_a_request_that_can_never_fit_is_refused_at_once():
    with pytest.raises(ValueError, match="exceed the KV cache of 10000"):
        Engine(PROFILE).submit(Request("huge", 9_999, 2), 0.0)


def test_submitting_into_the_past_is_refused():
    engine = Engine(PROFILE)
    engine.submit(Request("a", 10, 5), 0.0)
    with pytest.raises(ValueError, match="advance to 9"):
        engine.submit(Request("b", 10, 5), 9.0)


def test_an_aborted_request_frees_its_memory_and_says_what_it_had():
    engine = Engine(PROFILE)
    engine.submit(Request("a", 10, 50), 0.0)
    engine.submit(Request("b", 10, 50), 0.0)
    events = engine.advance(0.1)
    result = engine.abort("a", 0.1)
    assert result is not None
    assert result.tokens == sum(event.request_id == "a" for event in events) > 0
    assert not result.finished
    assert engine.abort("a", 0.1) is None
    assert run_all(engine)["b"].finished


def test_an_embedding_is_a_prefill_without_tokens():
    engine = Engine(PROFILE)
    engine.submit(Request("e", 500, 0), 0.0)
    assert [(event.index, event.last) for event in engine.advance(math.inf)] == [(0, True)]
    assert engine.counters.generated_tokens == 0


def test_busy_time_counts_the_running_iteration_and_stops_when_idle():
    engine = Engine(PROFILE)
    engine.submit(Request("a", 1000, 1), 0.0)
    assert engine.busy_s(0.05) == pytest.approx(0.05)
    engine.advance(1.0)
    assert engine.busy_s(1.0) == pytest.approx(0.13)
