from __future__ import annotations

import pytest

from jevons.core.spec import Objectives, Profile
from jevons.simulator.static import fewest_replicas, run
from jevons.simulator.traces import read_arrivals
from jevons.simulator.workload import Arrival, compressed, load_zoo, window

PROFILE = Profile(0.0157, 0.000083, 0.000028, 0.01314, 0.0523, 0.00123, 458_846)
"""Llama-3.1-70B bf16 on four H100."""


def test_more_replicas_serve_a_burst_sooner_and_every_request_is_accounted_for():
    burst = [Arrival(0.01 * number, 1155, 211) for number in range(200)]
    alone, together = run(burst, replicas=1, profile=PROFILE), run(burst, replicas=4, profile=PROFILE)
    assert len(alone) == len(together) == 200
    assert {served.replica for served in together} == {0, 1, 2, 3}
    assert max(s.result.ttft_s for s in together) < max(s.result.ttft_s for s in alone)
    assert all(served.result.tokens == 211 for served in together)


def test_the_profile_sustains_about_the_rate_its_table_says_and_not_twice_of_it():
    """The table gives 6.84 requests/s at a mean gap of 50 ms for the mean conversation."""

    def mean_gap(rate: float) -> float:
        served = run([Arrival(number / rate, 1155, 211) for number in range(int(rate * 120))], replicas=1, profile=PROFILE)
        gaps = [one.result.itl_mean_s for one in served[len(served) // 2 :]]
        return sum(gaps) / len(gaps)

    assert mean_gap(4.0) < 0.050 < mean_gap(12.0)


def test_the_smallest_fleet_is_found_and_none_when_there_is_none():
    arrivals = [Arrival(0.05 * number, 1155, 211) for number in range(400)]
    fewest = fewest_replicas(arrivals, profile=PROFILE, objectives=Objectives(), attainment=0.95)
    assert fewest is not None
    assert fewest > 1
    assert sum(one.met(Objectives()) for one in run(arrivals, replicas=fewest - 1, profile=PROFILE)) < 0.95 * 400
    assert fewest_replicas(arrivals, profile=PROFILE, objectives=Objectives(ttft_s=0.001), attainment=0.5, most=2) is None


def test_no_replicas_is_an_error():
    with pytest.raises(ValueError, match="replicas: 0"):
        run([], replicas=0, profile=PROFILE)


def test_a_trace_counts_from_its_first_row_and_leaves_out_empty_requests(tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:48.6805900,10,0\n2023-11-16 18:15:50.1805900,396,109\n"
    )
    assert read_arrivals(trace) == [Arrival(0.0, 374, 44), Arrival(3.5, 396, 109)]
    assert compressed(read_arrivals(trace), 7) == [Arrival(0.0, 374, 44), Arrival(0.5, 396, 109)]
    assert window(read_arrivals(trace), start_s=3.0, length_s=1.0) == [Arrival(0.5, 396, 109)]


def test_a_zoo_call_falls_into_its_minute_and_the_seed_decides_where(tmp_path):
    zoo = tmp_path / "zoo.csv"
    zoo.write_text("model_id,minute,count\n7,3,2\n9,0,1\n")
    calls = load_zoo(zoo, seed=1, sizes=[Arrival(0, 100, 10)])
    assert [call.model for call in calls] == ["9", "7", "7"]
    assert all(180 <= call.at_s < 240 and call.input_tokens == 100 for call in calls[1:])
    assert calls == load_zoo(zoo, seed=1, sizes=[Arrival(0, 100, 10)])
    with pytest.raises(ValueError, match="factor"):
        compressed(calls, 0)
