import itertools

import numpy as np
import pytest

from jevons.core.spec import Objectives, Profile
from jevons.simulator.protocol.foresight import SETTINGS, controllers, spread
from jevons.simulator.protocol.reference import c_lo, lp, misses, plan, scored_misses
from jevons.simulator.scenario import Physics, Scenario, SimVariant, Startup
from jevons.simulator.traces import columns
from jevons.simulator.world import simulate

# one token a tenth of a second whatever the batch, prefill a second per 1,000 tokens
PROFILE = Profile(0.1, 0.0, 0.0, 0.0, 1.0, 0.0, kv_tokens=100_000, max_num_seqs=8)


def a_world(at_s, *, given=1000, burn_in_s=0.0, replicas=3, itl_s=0.15):
    n = len(at_s)
    variant = SimVariant("v", Physics(PROFILE), Startup(30.0), usd_per_h=3600.0, max_replicas=replicas)
    return Scenario(
        "w",
        columns(np.sort(np.asarray(at_s, float)), np.full(n, given), np.full(n, 10)),
        (variant,),
        Objectives(95.0, 2.0, itl_s),
        burn_in_s=burn_in_s,
    )


def by_force(missed, price, start, mu):
    bins, states = missed.shape
    return min(
        sum(price * n + mu * missed[at, n] for at, n in enumerate(chosen)) + start * sum(max(0, b - a) for a, b in itertools.pairwise(chosen))
        for chosen in itertools.product(range(states), repeat=bins)
    )


def test_worked_example():
    chosen, value = plan(np.array([[5.0, 0.0], [5.0, 0.0]]), price=1.0, start=2.0, mu=1.0)
    assert (chosen.tolist(), value) == ([1, 1], 2.0)


@pytest.mark.parametrize("seed", range(8))
def test_the_dynamic_programme_finds_what_trying_everything_finds(seed):
    chance = np.random.default_rng(seed)
    missed = np.sort(chance.integers(0, 6, (5, 4)).astype(float), axis=1)[:, ::-1]
    price, start, mu = chance.random(3) + 0.1
    chosen, value = plan(missed, price=price, start=start, mu=mu)
    assert value == pytest.approx(by_force(missed, price, start, mu))
    steps = start * sum(max(0, b - a) for a, b in itertools.pairwise(chosen.tolist()))
    assert steps + sum(price * n + mu * missed[at, n] for at, n in enumerate(chosen)) == pytest.approx(value)


def test_misses_fall_with_replicas_and_the_last_of_a_bin_are_rescued():
    world = a_world([0.0, 0.1, 0.2, 0.3, 14.5], itl_s=1.0)
    missed = misses(world, world.requests, from_s=0.0, to_s=15.0)
    # with none, only the last can wait for the end of its bin; one replica prefills a prompt a second and has the first ready in time
    assert missed[0].tolist()[:2] == [4.0, 3.0]
    assert (np.diff(missed[0]) <= 0).all()


def test_bounds_lie_below_what_is_achieved():
    chance = np.random.default_rng(3)
    world = a_world(np.sort(chance.random(400)) * 600.0)
    for target in (0.9, 0.95):
        low, better = lp(world, target), c_lo(world, target, scored_misses(world))
        assert 0 < low.usd < better.usd
        assert better.duality_gap >= 0
        static = 3600.0 / 3600.0 * 600.0 * 3
        assert better.usd < static


def test_the_bound_is_infinite_when_nobody_can_reach_the_target():
    world = a_world([0.0] * 50)
    assert c_lo(world, 0.99, scored_misses(world)).usd == np.inf


def test_the_bound_counts_from_the_burn_in_on():
    world = a_world([*np.linspace(0, 299, 100), *np.linspace(300, 599, 50)], burn_in_s=300.0)
    assert c_lo(world, 0.9, scored_misses(world)).offered == lp(world, 0.9).offered == 50


def test_levels_are_held_before_and_after():
    assert spread(np.array([0, 0, 3, 0, 0]), before=1, after=0).tolist() == [0, 3, 3, 0, 0]
    assert spread(np.array([0, 0, 3, 0, 0]), before=0, after=2).tolist() == [0, 0, 3, 3, 3]


def test_foresight_has_its_replicas_when_the_burst_comes():
    quiet, burst = np.arange(0, 600, 10.0), 600 + np.arange(0, 60, 0.4)
    world = a_world([*quiet, *burst], given=200, replicas=8)
    outcomes = [simulate(world, one) for one in controllers(world, SETTINGS[40:41])]
    in_time = outcomes[0].first_token_s - world.requests.at_s <= 2.0
    assert in_time[len(quiet) :].mean() > 0.9
    assert outcomes[0].usd < 4 * 660
