"""Many replicas over one table: who gets what, who waits, and what is left when a replica goes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jevons.core.load import TOKENS_PER_SEQUENCE
from jevons.core.spec import Profile
from jevons.simulator.engine import Engine, Request
from jevons.simulator.fleet import Fleet
from jevons.simulator.scenario import Dispatch, Physics, Requests

PROFILE = Profile(0.01, 0.001, 0.0, 0.05, 0.1, 0.0, kv_tokens=10_000, max_num_seqs=8, chunk_tokens=2048)
PHYSICS = Physics(PROFILE)


def requests(*at_s: float, given: int = 100, wanted: int = 10) -> Requests:
    n = len(at_s)
    return Requests(np.array(at_s), np.full(n, given, np.int32), np.full(n, wanted, np.int32), np.zeros(n, np.int32), np.zeros(n, np.float32))


def alone(given: int = 100, wanted: int = 10) -> tuple[float, float]:
    engine = Engine(PROFILE)
    engine.submit(Request("it", given, wanted), 0.0)
    engine.advance(math.inf)
    (result,) = engine.take_results()
    return result.first_token_s, result.ended_s


def test_with_nobody_ready_requests_are_held_and_go_to_the_first_replica_that_is():
    fleet = Fleet([PHYSICS], requests(0.0, 1.0, 9.0))
    fleet.advance(2.0)
    counters = fleet.counters(0)
    assert (counters.arrivals, counters.held, counters.held_tokens) == (2, 2, 200)
    assert fleet.readings(0) == []
    fleet.ready(0, 5.0)
    fleet.advance(5.0)
    (reading,) = fleet.readings(0)
    assert (reading.pod, reading.running + reading.waiting, reading.kv_capacity, fleet.counters(0).held) == ("0-0", 2, 10_000, 0)
    fleet.advance(math.inf)
    assert fleet.first_token_s[0] == 5.0 + alone()[0]
    assert fleet.end_s[2] == pytest.approx(9.0 + alone()[1])
    assert fleet.counters(0).completed == 3


def test_replicas_that_become_ready_together_share_what_was_held():
    fleet = Fleet([PHYSICS], requests(0.0, 0.0, 0.0, 0.0))
    fleet.advance(1.0)
    fleet.ready(0, 2.0)
    fleet.ready(0, 2.0)
    assert [reading.running + reading.waiting for reading in fleet.readings(0)] == [2, 2]


def test_a_replica_takes_the_arrivals_of_the_instant_it_becomes_ready_at():
    fleet = Fleet([PHYSICS], requests(3.0))
    fleet.ready(0, 3.0)
    fleet.advance(math.inf)
    assert fleet.first_token_s[0] == 3.0 + alone()[0]


def test_a_request_held_for_longer_than_it_may_wait_is_refused():
    fleet = Fleet([PHYSICS], requests(0.0, 6.0), max_wait_s=5.0)
    fleet.ready(0, 10.0)
    assert (fleet.counters(0).refused, fleet.counters(0).held) == (1, 0)
    fleet.advance(math.inf)
    assert list(fleet.variant) == [-1, 0]
    assert math.isnan(fleet.first_token_s[0])


def test_without_any_replica_everybody_is_refused_in_the_end():
    fleet = Fleet([PHYSICS], requests(0.0, 6.0), max_wait_s=5.0)
    fleet.advance(math.inf)
    assert fleet.counters(0).refused == 2


def test_arrivals_go_where_the_load_is_least():
    fleet = Fleet([PHYSICS], requests(0.0, 0.0, 0.0))
    first, second = fleet.ready(0, 0.0), fleet.ready(0, 0.0)
    fleet.advance(0.0)
    assert (fleet.booked_tokens(first), fleet.booked_tokens(second)) == (220, 110)


def test_a_long_request_weighs_no_more_than_its_context_and_its_place_in_the_batch():
    many = requests(0.0, *[0.001] * 5)
    many.input_tokens[0] = int(2 * TOKENS_PER_SEQUENCE)
    fleet = Fleet([PHYSICS], many)
    slots = [fleet.ready(0, 0.0), fleet.ready(0, 0.0)]
    fleet.advance(0.001)
    inside = {reading.pod: reading.running + reading.waiting for reading in fleet.readings(0)}
    assert [inside[fleet.pod(slot)] for slot in slots] == [2, 4]


def test_a_draining_replica_finishes_its_own_and_is_gone_when_empty():
    fleet = Fleet([PHYSICS], requests(0.0, 0.1), max_wait_s=60.0)
    slot = fleet.ready(0, 0.0)
    fleet.drain(slot, 0.05)
    fleet.advance(0.1)
    assert not fleet.gone(slot)
    assert math.isnan(fleet.gone_s(slot))
    assert [reading.leaving for reading in fleet.readings(0)] == [True]
    assert fleet.counters(0).held == 1
    fleet.advance(50.0)
    assert fleet.readings(0) == []
    assert fleet.gone_s(slot) == fleet.end_s[0] == alone()[1]
    assert fleet.gone(slot)


def test_an_idle_replica_that_drains_is_gone_at_once():
    fleet = Fleet([PHYSICS], requests(0.0))
    slot = fleet.ready(0, 0.0)
    fleet.drain(slot, 30.0)
    assert fleet.gone_s(slot) == 30.0
    assert fleet.gone(slot)


def test_what_a_killed_replica_had_is_lost():
    fleet = Fleet([PHYSICS], requests(0.0, 0.0))
    slot = fleet.ready(0, 0.0)
    assert fleet.kill(slot, 0.1, retry=False) == 2
    fleet.advance(math.inf)
    assert fleet.counters(0).lost == 2
    assert np.isnan(fleet.first_token_s).all()
    assert np.isnan(fleet.end_s).all()


def test_or_waits_again_ahead_of_all_who_came_later():
    fleet = Fleet([Physics(Profile(0.01, 0.001, 0.0, 0.05, 0.1, 0.0, kv_tokens=10_000, max_num_seqs=1))], requests(0.0, 0.08, 0.2))
    slot = fleet.ready(0, 0.0)
    assert fleet.kill(slot, 0.1, retry=True) == 2
    fleet.ready(0, 1.0)
    fleet.advance(math.inf)
    assert fleet.first_token_s[0] == pytest.approx(1.0 + alone()[0])
    assert list(np.argsort(fleet.end_s)) == [0, 1, 2]
    assert fleet.counters(0).completed == 3


def test_what_a_killed_replica_had_goes_to_another_one_at_once():
    fleet = Fleet([PHYSICS], requests(0.0))
    doomed, _ = fleet.ready(0, 0.0), fleet.ready(0, 0.0)
    fleet.kill(doomed, 0.02, retry=True)
    fleet.advance(math.inf)
    assert fleet.first_token_s[0] == pytest.approx(0.02 + alone()[0])


def test_a_slot_is_used_again_only_when_its_end_was_seen():
    fleet = Fleet([PHYSICS], requests(0.0), max_replicas=1)
    slot = fleet.ready(0, 0.0)
    fleet.drain(slot, 20.0)
    with pytest.raises(ValueError, match="slots are taken"):
        fleet.ready(0, 30.0)
    assert fleet.gone(slot)
    assert fleet.ready(0, 30.0) == slot
    assert fleet.pod(slot) == "0-1"
    fleet.kill(slot, 31.0, retry=False)
    assert fleet.ready(0, 32.0) == slot


def test_a_route_can_be_changed_for_those_who_are_still_to_come():
    fleet = Fleet([PHYSICS, PHYSICS], requests(0.0, 1.0, 2.0, 3.0), route=np.array([0, 0, 0, 0], np.int32))
    fleet.ready(0, 0.0)
    fleet.ready(1, 0.0)
    fleet.advance(0.5)
    fleet.set_route(1, np.array([1, -1], np.int32))
    with pytest.raises(ValueError, match="still to come"):
        fleet.set_route(0, np.array([1], np.int32))
    with pytest.raises(ValueError, match="variants are"):
        fleet.set_route(1, np.array([2], np.int32))
    fleet.advance(math.inf)
    assert list(fleet.variant) == [0, 1, -1, 0]


def test_a_request_that_no_cache_could_hold_is_refused():
    fleet = Fleet([PHYSICS], requests(0.0, given=9_995))
    fleet.ready(0, 0.0)
    fleet.advance(math.inf)
    assert fleet.counters(0).refused == 1


def test_a_static_batch_starts_when_all_of_the_last_are_done():
    sizes = np.array([5, 40, 5, 5], np.int32)
    given = requests(0.0, 0.01, 0.02, 0.03)
    fleet = Fleet([Physics(PROFILE, static_batch=2)], Requests(given.at_s, given.input_tokens, sizes, given.cached_tokens, given.score))
    fleet.ready(0, 0.0)
    fleet.advance(math.inf)
    assert fleet.first_token_s[0] == alone()[0]
    assert fleet.first_token_s[1] == fleet.first_token_s[2]
    assert fleet.first_token_s[1] >= fleet.end_s[0]
    assert fleet.end_s[2] < fleet.end_s[1] < fleet.first_token_s[3]


def test_jitter_keeps_the_mean_and_spreads_as_its_sigma_says():
    n, sigma = 4000, 0.376
    profile = Profile(0.01, 0.0, 0.0, 0.05, 0.0, 0.0, kv_tokens=10_000)
    fleet = Fleet([Physics(profile, jitter=sigma)], requests(*(float(i) for i in range(n)), wanted=1), seed=5)
    fleet.ready(0, 0.0)
    fleet.advance(math.inf)
    logs = np.log((fleet.first_token_s - np.arange(n)) / 0.05)
    assert abs(logs.mean() + sigma**2 / 2) < 5 * sigma / math.sqrt(n)
    assert abs(logs.std() - sigma) < 5 * sigma / math.sqrt(2 * n)
    assert abs(np.corrcoef(logs[1:], logs[:-1])[0, 1]) < 5 / math.sqrt(n)
    assert abs(((logs - logs.mean()) ** 4).mean() / logs.var() ** 2 - 3) < 5 * math.sqrt(24 / n)


def test_two_replicas_and_two_seeds_jitter_differently_and_the_same_seed_alike():
    def times(seed: int) -> np.ndarray:
        fleet = Fleet([Physics(PROFILE, jitter=0.3)], requests(0.0, 0.0), seed=seed)
        fleet.ready(0, 0.0)
        fleet.ready(0, 0.0)
        fleet.advance(math.inf)
        return fleet.first_token_s

    one = times(1)
    assert one[0] != one[1]
    assert np.array_equal(one, times(1))
    assert not np.array_equal(one, times(2))


def test_time_does_not_run_backwards():
    fleet = Fleet([PHYSICS], requests(0.0))
    slot = fleet.ready(0, 0.0)
    fleet.advance(10.0)
    for call in (
        lambda: fleet.advance(9.0),
        lambda: fleet.ready(0, 9.0),
        lambda: fleet.drain(slot, math.nan),
        lambda: fleet.kill(slot, 9.0, retry=True),
    ):
        with pytest.raises(ValueError, match="before"):
            call()


def test_a_replica_that_is_not_there_cannot_go():
    fleet = Fleet([PHYSICS], requests(0.0))
    slot = fleet.ready(0, 0.0)
    fleet.drain(slot, 1.0)
    with pytest.raises(ValueError, match="no replica"):
        fleet.drain(slot, 2.0)
    with pytest.raises(ValueError, match="no replica"):
        fleet.kill(slot + 1, 2.0, retry=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"at_s": np.array([1.0, 0.0])}, "in order"),
        ({"at_s": np.array([0.0, math.nan])}, "finite"),
        ({"input_tokens": np.array([0, 1], np.int32)}, "at least 1"),
        ({"output_tokens": np.array([1], np.int32)}, "length"),
    ],
)
def test_requests_that_cannot_be_are_named(change, says):
    given = requests(0.0, 1.0)
    columns = {name: change.get(name, getattr(given, name)) for name in Requests.__slots__}
    with pytest.raises(ValueError, match=says):
        Fleet([PHYSICS], Requests(**columns))


def test_a_fleet_needs_a_variant_and_room():
    with pytest.raises(ValueError, match="at least one variant"):
        Fleet([], requests(0.0))


@pytest.mark.parametrize("dispatch", list(Dispatch))
def test_whatever_sends_them_all_are_answered_and_equal_seeds_are_equal(dispatch: Dispatch) -> None:
    asked = requests(*np.sort(np.random.default_rng(3).random(400)) * 40.0)
    ends = []
    for _ in range(2):
        fleet = Fleet([PHYSICS], asked, seed=4, max_replicas=4, dispatch=dispatch)
        slots = [fleet.ready(0, 0.0) for _ in range(4)]
        fleet.advance(math.inf)
        assert np.isfinite(fleet.end_s).all()
        assert all(fleet.busy_s(slot) > 1.0 for slot in slots)
        ends.append(np.array(fleet.end_s))
    assert np.array_equal(*ends)


def test_by_turns_and_by_count_a_long_prompt_is_not_seen_by_load_it_is() -> None:
    asked = requests(*np.arange(8) / 100.0, wanted=100)
    asked.input_tokens[0] = 4000

    def spread(dispatch: Dispatch) -> list[int]:
        fleet = Fleet([PHYSICS], asked, max_replicas=2, dispatch=dispatch)
        for _ in range(2):
            fleet.ready(0, 0.0)
        fleet.advance(0.08)
        return [one.running + one.waiting for one in fleet.readings(0)]

    assert spread(Dispatch.ROUND_ROBIN) == [4, 4]
    assert spread(Dispatch.LEAST_REQUESTS) == [4, 4]
    assert spread(Dispatch.LEAST_LOAD)[0] < 4
