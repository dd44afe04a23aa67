import math

import numpy as np
import pytest

from jevons.core.spec import Objectives, Profile
from jevons.simulator.policies import PEERS
from jevons.simulator.protocol import policies, pool, tuning
from jevons.simulator.protocol.cell import Cell, Machine, scenario
from jevons.simulator.protocol.policies import Ours, described
from jevons.simulator.protocol.sizing import attained, chosen, sized
from jevons.simulator.protocol.splits import Span, Split, Window, blocks, longest, requests_of, room_s, span, starts
from jevons.simulator.protocol.study import QUICK, Effort
from jevons.simulator.scenario import Physics
from jevons.simulator.static import smallest
from jevons.simulator.traces import Log, Zoo, columns
from jevons.simulator.traces_clients import ClientModel
from jevons.simulator.traces_synthetic import shapes

FAST = Profile(0.030, 0.0014, 0.0, 0.02, 0.05, 0.0, kv_tokens=400_000)
SLOW = Profile(0.030, 0.0018, 0.0, 0.02, 0.55, 0.0, kv_tokens=200_000)
MACHINES = (Machine("fast", FAST, 1, 10.0), Machine("slow", SLOW, 1, 3.0))
DAY = 144


def a_log(rate=4.0, length_s=3600.0, name="log"):
    at_s = np.sort(np.random.default_rng(1).random(int(rate * length_s))) * length_s
    return Log(name, columns(at_s, np.full(len(at_s), 500), np.full(len(at_s), 100)))


def a_model(clients=12, windows=7 * DAY):
    rate = np.full((clients, windows), 1.0)
    sizes = {client: {0: (np.full(11, 500.0), np.full(11, 100.0))} for client in range(clients)}
    return ClientModel("m", tuple(map(str, range(clients))), rate, np.zeros_like(rate, bool), np.ones_like(rate), sizes)


def a_cell(trace="log", **changes):
    return Cell(**({"trace": trace, "fleet": 4, "startup_s": 60.0, "machine": MACHINES[0], "objectives": Objectives(), "needed": 2} | changes))


def test_three_days_are_for_tuning_and_four_for_the_test():
    week = 7 * 86400.0
    assert Span.of(0.0, week).part(Split.FIT) == (0.0, 3 * 86400.0)
    assert Span.of(0.0, week).part(Split.TEST) == (3 * 86400.0, week)


def test_a_seeds_window_lies_in_its_part_and_seeds_are_spread_over_it():
    begins = [starts(Span.of(0.0, 7 * 86400.0), Window(Split.TEST, seed, 7200.0), whole_s=9000.0)[0] for seed in range(10)]
    assert min(begins) >= 3 * 86400.0
    assert max(begins) <= 7 * 86400.0 - 9000.0
    assert len(set(begins)) == 10
    assert max(np.diff(sorted(begins))) < 86400.0
    with pytest.raises(ValueError, match="longer"):
        starts(Span.of(0.0, 86400.0), Window(Split.FIT, 0, 86400.0), whole_s=86400.0)


def test_windows_with_gaps_in_the_recording_are_passed_over():
    model = a_model()
    first = starts(span(a_model()), Window(Split.TEST, 0, 1200.0), whole_s=1200.0)[0]
    model.rate[:, int(first // 600)] = 0.0
    found = requests_of(model, (0, 1), Window(Split.TEST, 0, 1200.0), burn_in_s=0.0)
    assert len(found) == pytest.approx(2400, rel=0.1)


def test_a_short_log_lends_alternate_blocks():
    fit, test = (set(blocks(3600.0, Window(split, 1, 7200.0), whole_s=7200.0)) for split in (Split.FIT, Split.TEST))
    assert not fit & test
    assert all(begin % 600 == 0 for begin in fit)
    one, again, other = (requests_of(a_log(), (), Window(Split.TEST, seed, 3600.0), burn_in_s=600.0) for seed in (3, 3, 4))
    assert np.array_equal(one.at_s, again.at_s)
    assert not np.array_equal(one.at_s[:99], other.at_s[:99])
    assert one.at_s[-1] < 4200
    assert len(one) == pytest.approx(4 * 4200, rel=0.05)


def test_a_long_log_is_cut_in_time():
    log = a_log(rate=0.5, length_s=86400.0)
    found = requests_of(log, (), Window(Split.TEST, 0, 3600.0), burn_in_s=0.0)
    begin = starts(span(log), Window(Split.TEST, 0, 3600.0), whole_s=3600.0)[0]
    assert found.at_s[0] == pytest.approx(log.requests.at_s[log.requests.at_s >= begin][0] - begin)


def test_calls_without_tokens_are_refused():
    zoo = Zoo("z", ("a",), np.ones((1, 60), np.int32))
    with pytest.raises(ValueError, match="without tokens"):
        requests_of(zoo, (), Window(Split.FIT, 0, 60.0), burn_in_s=0.0)
    with pytest.raises(ValueError, match="without tokens"):
        sized(zoo, MACHINES, name="z", fleet=4, startup_s=60.0, objectives=Objectives())


def test_everybody_starts_with_the_same_replicas_and_a_burn_in():
    world = scenario(a_log(), a_cell(startup_s=300.0, slowdown=1.2), Window(Split.TEST, 0, 1800.0))
    assert world.burn_in_s == 900.0
    assert world.variants[0].initial_replicas >= 1
    assert world.variants[0].physics.slowdown == 1.2
    assert world.requests.at_s[-1] <= 2700.0


def test_the_smallest_number_is_found_from_any_guess():
    for guess in (1, 5, 40):
        assert smallest(lambda n: n >= 7, guess=guess, most=40) == 7
    assert smallest(lambda n: n > 40, guess=3, most=40) is None
    assert smallest(lambda n: n >= 40, guess=3, most=40) == 40


def test_a_log_gets_the_machine_that_makes_the_fleet():
    small = sized(a_log(3.0), MACHINES, name="x", fleet=2, startup_s=60.0, objectives=Objectives())
    large = sized(a_log(3.0), MACHINES, name="x", fleet=6, startup_s=60.0, objectives=Objectives())
    assert (small.trace, small.startup_s, small.machine.name) == ("x", 60.0, "fast")
    assert large.machine.name == "slow"
    assert large.needed == pytest.approx(6, abs=2)


def test_clients_are_added_at_their_own_rate_until_the_fleet_is_full():
    model = a_model(20, 1008)
    cell, again = (sized(model, MACHINES, name="m", fleet=2, startup_s=60.0, objectives=Objectives()) for _ in range(2))
    assert cell == again
    assert cell.needed == pytest.approx(2, abs=1)
    assert 1 < len(cell.clients) < 20
    window = requests_of(model, cell.clients, Window(Split.FIT, 0, 3600.0), burn_in_s=0.0)
    assert attained(window, Physics(cell.machine.profile), Objectives(), cell.needed + 1) > 0.95


def test_a_shape_gets_the_peak_rate_that_fills_the_fleet():
    spike = shapes()["spike"]
    cell = sized(spike, MACHINES, name="spike", fleet=3, startup_s=60.0, objectives=Objectives())
    assert cell.needed == pytest.approx(3, abs=1)
    fit, test = (requests_of(spike, (), Window(split, 0, 1800.0), burn_in_s=600.0, peak_rps=cell.peak_rps) for split in Split)
    assert not np.array_equal(fit.at_s[:20], test.at_s[:20])
    assert scenario(spike, cell, Window(Split.TEST, 0, 1800.0)).requests.at_s.tolist() == test.at_s.tolist()


def test_one_client_does_not_fill_the_fleet_while_there_are_others():
    mean = np.array([[8.0], [1.0], [1.0], [1.0], [1.0], [1.0], [1.0], [1.0], [1.0], [1.0], [1.0]])
    assert chosen(mean, np.zeros_like(mean), list(range(11)), 10.0) == tuple(range(1, 11))
    assert chosen(mean[:1], np.zeros((1, 1)), [0], 4.0) == (0,)


def test_no_machine_may_be_able_enough():
    with pytest.raises(ValueError, match="no machine"):
        sized(a_log(), MACHINES, name="x", fleet=2, startup_s=60.0, objectives=Objectives(itl_s=0.005))


@pytest.mark.parametrize("policy", policies.COMPETITORS)
def test_every_peer_has_a_knob_and_a_grid(policy):
    front, grid = policies.front(policy), policies.grid(policy)
    assert 4 <= len(front) <= 20
    assert len(set(grid)) == len(grid) <= 200
    if policy != "static":
        assert PEERS[policy].defaults in front
        assert PEERS[policy].defaults in policies.front(policy, every=2)
        assert described(policy, PEERS[policy].defaults) == "defaults"


def test_jevons_has_one_knob_and_no_grid():
    assert [one.percentile for one in policies.front("jevons")] == list(policies.PERCENTILES)
    assert max(one.percentile for one in policies.front("jevons", every=2)) == max(policies.PERCENTILES)
    assert described("jevons", Ours(95.0)) == "percentile=95"


def test_the_best_of_each_target_in_turn_are_kept():
    table = np.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    assert tuning.keep(table, 2) == [0, 2]
    assert tuning.keep(table, 9) == [0, 2, 1]
    assert tuning.survivors(90, at_least=6) == 30
    assert tuning.survivors(10, at_least=6) == 6


def test_other_traces_count_alike_whatever_they_cost():
    cheap, dear = np.array([[0.0, 0.1]]), np.array([[0.5, 0.0]])
    assert tuning.keep(tuning.elsewhere([cheap, dear]), 1) == [1]


def twice(number: int) -> int:
    return 2 * number


def test_a_pool_answers_in_the_order_of_the_jobs():
    seen = []
    with pool.local(1) as run:
        assert run(twice, [3, 1, 2], lambda: seen.append(1)) == [6, 2, 4]
    assert len(seen) == 3
    with pool.local(2) as run:
        assert run(math.sqrt, [4.0, 9.0], lambda: seen.append(1)) == [2.0, 3.0]
    assert len(seen) == 5


def test_a_failing_job_ends_the_pool():
    with pytest.raises(ValueError, match="math domain"), pool.local(2) as run:
        run(math.sqrt, [-1.0, 4.0], lambda: None)


def test_the_border_moves_with_what_was_recorded():
    late, gap = a_model(), a_model()
    late.rate[:, : 4 * DAY] = 0.0
    gap.rate[:, DAY // 2 : 5 * DAY] = 0.0
    assert span(late).part(Split.FIT) == (4 * 86400.0, 4 * 86400.0 + round(3 * DAY * 3 / 7) * 600.0)
    begin, end = span(gap).part(Split.TEST)
    assert 5 * 86400.0 <= begin < end == 7 * 86400.0
    assert room_s(gap, Split.TEST) == end - begin
    assert span(a_model()) == Span.of(0.0, 7 * 86400.0)
    assert longest(np.array([True, False, True, True])) == 2


def test_a_window_is_no_longer_than_its_part_has_room_for():
    cell = a_cell(test_s=4000.0)
    assert cell.window(Split.TEST, 1, 7200.0).length_s == 4000.0 - cell.burn_in_s
    assert cell.window(Split.FIT, 1, 7200.0).length_s == 7200.0


def test_tuning_takes_no_more_runs_than_allowed():
    assert tuning.first_round(200, at_least=8) == 150
    for runs in (9, 28, 200):
        first = tuning.first_round(runs, at_least=8)
        assert first + tuning.survivors(first, at_least=8) <= runs


def test_a_log_that_is_too_short_or_too_heavy_says_so():
    with pytest.raises(ValueError, match="at least 100"):
        sized(a_log(length_s=20.0), MACHINES, name="log", fleet=4, startup_s=60.0, objectives=Objectives())
    with pytest.raises(ValueError, match="--ttft"):
        sized(a_log(), MACHINES, name="log", fleet=4, startup_s=60.0, objectives=Objectives(ttft_s=0.01))


def test_a_log_that_needs_more_than_the_fleet_asked_for_is_measured():
    cell = sized(a_log(rate=12.0, length_s=900.0), MACHINES[1:], name="log", fleet=1, startup_s=60.0, objectives=Objectives())
    assert cell.needed > 3
    assert cell.max_replicas >= 2 * cell.needed
    assert "needs" in cell.note


def test_a_busy_trace_has_shorter_windows_and_two_seeds_in_a_quick_run():
    calm, busy = a_cell(rate=5.0), a_cell(rate=215.0)
    assert QUICK.light(calm) is QUICK
    assert QUICK.light(busy).seeds == 2
    assert QUICK.light(busy).test_s == 900.0
    assert Effort().light(busy) == Effort()


def test_a_window_of_a_few_requests_is_no_window():
    with pytest.raises(ValueError, match="fuller recording"):
        requests_of(a_log(rate=0.02, length_s=36_000.0), (), Window(Split.TEST, 0, 3000.0), burn_in_s=600.0)
