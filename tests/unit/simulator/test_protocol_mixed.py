from dataclasses import replace

import numpy as np
import pytest

from jevons.core.spec import Objectives, Profile
from jevons.simulator.policies import PEERS
from jevons.simulator.protocol import foresight_mixed, mixed
from jevons.simulator.protocol.cell import Cell, Machine, scenario
from jevons.simulator.protocol.conditions import conditions
from jevons.simulator.protocol.figures import figures
from jevons.simulator.protocol.mixed import POOL, On
from jevons.simulator.protocol.policies import JEVONS, Ours
from jevons.simulator.protocol.sizing import mix_of
from jevons.simulator.protocol.splits import Split, Window
from jevons.simulator.traces import Log, columns
from jevons.simulator.world import simulate

SLOW = Machine("llama/bf16/a/4/vllm", Profile(0.030, 0.0020, 0.0, 0.02, 0.06, 0.0, kv_tokens=100_000), 4, 12.0)
FAST = Machine("llama/fp8/h/2/vllm", Profile(0.015, 0.0010, 0.0, 0.01, 0.03, 0.0, kv_tokens=100_000), 2, 11.0)
DEAR = Machine("llama/bf16/h/4/vllm", Profile(0.015, 0.0010, 0.0, 0.01, 0.03, 0.0, kv_tokens=100_000), 4, 30.0)
OTHER = Machine("qwen/bf16/h/4/vllm", Profile(0.015, 0.0010, 0.0, 0.01, 0.03, 0.0, kv_tokens=100_000), 4, 1.0)


def a_log():
    at_s = np.sort(np.random.default_rng(1).random(9600)) * 2400.0
    return Log("log", columns(at_s, np.full(len(at_s), 500), np.full(len(at_s), 100)))


@pytest.fixture
def cell():
    return mix_of(a_log(), Cell("log", 3, 30.0, SLOW, Objectives(), 3), (DEAR, OTHER, FAST, SLOW))


def test_a_mix_is_one_model_on_what_there_is_the_cells_own_machine_first(cell):
    assert [one.name for one in cell.mix] == [SLOW.name, FAST.name, DEAR.name]
    assert cell.mean_tokens == (500.0, 100.0)
    assert mixed.needs(cell)[1] < mixed.needs(cell)[0] == 3


def test_everybody_is_given_the_same_variants_and_a_peer_may_be_set_up_on_one(cell):
    world = scenario(a_log(), cell, Window(Split.TEST, 0, 1200.0))
    assert [variant.name for variant in world.variants] == ["bf16-a-4-vllm", "fp8-h-2-vllm", "bf16-h-4-vllm"]
    assert mixed.entrant(world, JEVONS, Ours(95.0))[0] is world
    hpa = PEERS["hpa"].defaults
    pool, alone = (mixed.entrant(world, "hpa", On(name, hpa)) for name in (POOL, 1))
    assert [variant.initial_replicas for variant in pool[0].variants][1:] == [1, 1]
    assert [variant.name for variant in alone[0].variants] == ["fp8-h-2-vllm"]
    figured = [figures(own, simulate(own, one)) for own, one in (pool, alone)]
    assert all(one.attainment > 0.3 for one in figured)
    assert figured[0].usd > figured[1].usd


def test_the_variant_is_tuned_with_the_rest(cell):
    assert {one.variant for one in mixed.grid("keda", cell)} == {POOL, 0, 1, 2}
    assert len(mixed.grid("keda", replace(cell, mix=()))) * 4 == len(mixed.grid("keda", cell))
    assert {one.variant for one in mixed.front("keda", cell, every=2)} == {POOL}
    assert {one.variant for one in mixed.front("static", cell, every=2)} == {0, 1, 2}
    turned = mixed.near("keda", [On(POOL, PEERS["keda"].defaults)], (1.0, 2.0))
    assert [one.variant for one in turned] == [POOL, POOL]
    assert mixed.described(cell, "keda", turned[1]).startswith("on pool: target=")
    assert mixed.described(cell, "keda", On(1, PEERS["keda"].defaults)) == "on fp8-h-2-vllm: defaults"


def test_a_condition_holds_for_the_whole_mix(cell):
    chunked = next(one.cell for one in conditions(cell) if one.cell.condition == "chunk 512")
    assert {one.profile.chunk_tokens for one in (chunked.machine, *chunked.mix)} == {512}


def test_a_plan_of_mixes_changes_where_what_it_misses_is_worth_the_start():
    missed, prices, starts = np.array([[0.0, 5.0], [5.0, 0.0]]), np.ones(2), np.full((2, 2), 2.0) - 2.0 * np.eye(2)
    assert foresight_mixed.plan(missed, prices, starts, 1.0).tolist() == [0, 1]
    assert foresight_mixed.plan(missed, prices, starts, 0.2).tolist() in ([0, 0], [1, 1])


def test_who_knows_the_future_is_no_dearer_with_mixes_than_the_best_fleet_of_one_size(cell):
    world = scenario(a_log(), cell, Window(Split.TEST, 0, 900.0))
    plans = [foresight_mixed.Plan(miss, 4, alone) for alone in (True, False) for miss in (0.02, 0.3)]
    fixed = [foresight_mixed.Plan(fixed=place) for place in (0.0, 0.5, 1.0)]
    found = [figures(world, simulate(world, one)) for one in foresight_mixed.controllers(world, [*plans, *fixed])]
    assert max(one.attainment for one in found) > 0.98
    assert found[4].usd <= found[5].usd <= found[6].usd
    reached = [one.usd for one in found[:4] if one.attainment >= 0.95]
    assert min(reached) <= 1.02 * min(one.usd for one in found[4:] if one.attainment >= 0.95)
