"""Since when is a model idle? Since the last work that anybody saw, and no later."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core_worlds import KEY, NOW, SMALL, demand, deployment, pod, state, variant_state, world

from jevons.core.decide import decide
from jevons.core.memory import DeploymentMemory, Memory, VariantMemory
from jevons.core.observed import Known, Unknown
from jevons.core.spec import ScalingSpec

ONE = deployment(SMALL, scaling=ScalingSpec(idle_after_s=60.0))
LONG_AGO = Memory({KEY: DeploymentMemory({"small": VariantMemory(work_at_s=NOW - 900.0)}, last_arrival_at_s=NOW - 900.0)})


RESTED = Known(0.0, NOW)


def answer(*, tokens_at_s=RESTED, arrival_s=900.0, memory=LONG_AGO, **signals):
    engine = replace(pod("a").signals, generation_tokens_per_s=Known(40.0, NOW), tokens_at_s=tokens_at_s, **signals)
    item = state(ONE, {"small": variant_state(pod("a", signals=engine))}, demand=(demand(0.0),), last_arrival_at_s=NOW - arrival_s)
    return decide(world(item, memory=memory), NOW)


def fate(answered):
    target = answered.deployments[KEY].replicas[0]
    return target.desired, target.reason


def test_tokens_of_a_minute_ago_keep_nobody_awake():
    assert fate(answer(tokens_at_s=Known(NOW - 61.0, NOW), arrival_s=70.0)) == (0, "Idle")
    assert fate(answer(tokens_at_s=Known(NOW - 45.0, NOW), arrival_s=70.0)) == (1, "IdleSoon")


def test_work_that_nobody_sent_through_the_gateway_starts_the_clock_anew():
    answered = answer(tokens_at_s=Known(NOW - 20.0, NOW))
    assert fate(answered) == (1, "IdleSoon")
    assert answered.memory.deployments[KEY].variants["small"].work_at_s == NOW - 20.0


@pytest.mark.parametrize("unknown", [Unknown("NoData"), Unknown("Partial"), Known(0.0, NOW - 100.0)], ids=["one sample", "partial", "stale"])
def test_tokens_of_which_nobody_knows_how_old_they_are_count_as_work_now(unknown):
    answered = answer(tokens_at_s=unknown)
    assert fate(answered) == (1, "Demand")
    assert answered.memory.deployments[KEY].variants["small"].work_at_s == NOW


def test_a_request_in_the_engine_is_work_now_whatever_its_tokens_say():
    assert fate(answer(tokens_at_s=Known(0.0, NOW), running=Known(1.0, NOW)))[0] == 1


def test_a_clock_that_is_ahead_of_ours_dates_no_work_into_the_future():
    answered = answer(tokens_at_s=Known(NOW + 40.0, NOW))
    assert answered.memory.deployments[KEY].variants["small"].work_at_s == NOW


def test_an_engine_that_shows_neither_queue_nor_tokens_rests_by_its_gpu():
    hidden = Unknown("NotExposed")
    quiet = {"running": hidden, "waiting": hidden, "tokens_at_s": hidden}
    engine = replace(pod("a").signals, **quiet)
    item = state(ONE, {"small": variant_state(pod("a", signals=engine))}, demand=(demand(0.0),), last_arrival_at_s=NOW - 900.0)
    assert fate(decide(world(item, memory=LONG_AGO), NOW)) == (0, "Idle")
    busy = replace(item, variants={"small": variant_state(pod("a", signals=replace(engine, gpu_util=Known(0.4, NOW))))})
    assert fate(decide(world(busy, memory=LONG_AGO), NOW))[0] == 1
